"""A lab without the static gate: what stands behind it holds without it.

The attempts on the sandbox take the shortest way to the system, `vars(torch)["os"]`, which the gate
refuses. A way that it does not see would be closed some day, and the attempts with it.
"""

import subprocess
import sys
from typing import Any

import pytest

from move37.lab.client import Lab

TAKE_OUT = """
from move37.lab import gate
gate.check = lambda tree, own=(): None
"""
START = """
import sys
from move37.lab import zygote
zygote.main(int(sys.argv[1]))
"""


def starting(program: str) -> Any:
    """Returns what starts a zygote by this program, in the place of `subprocess.Popen`."""
    popen = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return popen([sys.executable, "-P", "-c", program, command[-1]], **options)

    return start


class Ungated(Lab):
    """A lab whose processes let every program load."""

    def _start_once(self) -> int | None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subprocess, "Popen", starting(TAKE_OUT + START))
            return super()._start_once()
