"""Asks whether PyTorch can compute on a device, without importing torch here.

The question costs a process that imports torch (some seconds), so it is put only where somebody
has asked for CUDA, or to the doctor.
"""

import functools
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from move37.records import InputError

ANSWER_SECONDS = 300.0  # importing torch from a cold disk

# Adds on the card, since a driver may be there and not work. Warnings of the driver are left out:
# what is wrong is in the error, or `is_available` says no.
QUESTION = """
import json, warnings
warnings.simplefilter("ignore")
import torch
found = {"torch": torch.__version__, "built": torch.version.cuda, "name": "", "error": ""}
if torch.cuda.is_available():
    try:
        float(torch.ones(2, device="cuda").sum())
        found["name"] = torch.cuda.get_device_name()
    except Exception as error:
        found["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Cuda:
    """What PyTorch says of CUDA on this machine."""

    name: str  # of the card; "" if there is none that works
    reason: str  # why there is none; "" if there is one


@functools.cache
def cuda() -> Cuda:
    """Returns which card PyTorch computes on, or why on none; asks once in a process.

    Raises InputError if torch cannot be imported, or does not answer.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"asking PyTorch for CUDA took more than {ANSWER_SECONDS:g} s: is the disk of "
            f"{sys.prefix} very slow, or the driver stuck?"
        ) from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise InputError(f"torch cannot be imported ({last}): `move37 doctor` has more")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    version = found["torch"]
    if found["name"]:
        return Cuda(found["name"], "")
    if found["error"]:
        return Cuda(
            "", f"PyTorch {version} sees a CUDA device that does not work: {found['error']}"
        )
    if found["built"] is None:
        return Cuda("", f"PyTorch {version} is built without CUDA")
    return Cuda("", f"PyTorch {version} finds no CUDA device")


def require(device: str) -> None:
    """Raises InputError unless PyTorch can compute on this device, "cpu" or "cuda"."""
    if device != "cuda":
        return
    if reason := cuda().reason:
        raise InputError(
            f"the device cuda cannot be used: {reason}. Take the device cpu, in a store of its "
            "own, or a machine on which `move37 doctor` names a card"
        )
