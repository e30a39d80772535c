"""What is said across the borders of the lab, and how the words of strangers are read.

A candidate's process may say anything. Its words are parsed as JSON of the known kinds, cleaned,
and never believed where they can be computed elsewhere.
"""

import json
from typing import Any, NamedTuple

from move37.records import CheckResult, Crashed, Rejected, from_data

# What a child may say in one examination; a reply has about 10 kB, and a stage is a line.
BYTES_LIMIT = 4 << 20
LINES_LIMIT = 10_000
FLOOD = f"said more than {BYTES_LIMIT >> 20} MiB or {LINES_LIMIT:,} lines"
STAGE_LENGTH = 100
PRINTED_LENGTH = 500  # of what a process printed before it ended, in what is told of it
# Checks whose verdicts are computed anew outside of the program's process (see `recompute`).
RECOMPUTED = ("independence", "causality", "prefix", "sub-quadratic", "memory")
OUTSIDE = "verify: outside of the program's process"  # the stage in which that is done
OVERDUE = "time limit"  # so begins what is told of what ran out of time


class Garbled(ValueError):
    """A candidate's process said what no examination says."""

    def __str__(self) -> str:
        return f"said what no examination says: {super().__str__()}"


class End(NamedTuple):
    """How a process ended."""

    ended: str  # "exit", "signal", "time" or "flood"
    detail: str
    printed: str  # the last that it printed

    @property
    def killed(self) -> bool:
        """Says whether something killed it that need not be the lab or the process itself."""
        return self.ended == "signal" and self.detail in ("SIGKILL", "SIGTERM")

    @property
    def reason(self) -> str:
        """What is told of a candidate whose process ended so."""
        told = {"exit": "ended by itself", "signal": "was killed"}.get(self.ended, "ended")
        start = OVERDUE if self.ended == "time" else f"the process {told}"
        printed = _last_lines(clean(self.printed).strip())
        return f"{start}: {self.detail}" + (f"\n{printed}" if printed else "")


def _last_lines(text: str) -> str:
    """Returns the last whole lines of a text; of a last line that is too long, its end."""
    _, border, whole = text[-PRINTED_LENGTH - 1 :].partition("\n")
    return whole if border and len(text) > PRINTED_LENGTH else text[-PRINTED_LENGTH:]


def clean(data: Any) -> Any:
    """Returns JSON data whose texts can be stored and printed: no control characters."""
    if isinstance(data, str):
        if data.isprintable():
            return data  # sooner
        text = data.encode(errors="replace").decode()
        return "".join(c for c in text if c in "\n\t" or c.isprintable())
    if isinstance(data, list):
        return [clean(item) for item in data]
    if isinstance(data, dict):
        return {key: clean(item) for key, item in data.items()}
    return data


def read(line: str | bytes) -> dict[str, Any]:
    """Returns the JSON object of a line, cleaned; raises Garbled for anything else."""
    try:
        said = clean(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise Garbled(clean(f"{error}: {line[:80]!r}")) from None
    if not isinstance(said, dict):
        raise Garbled(clean(f"no object: {line[:80]!r}"))
    return said


def stage_of(data: object) -> str:
    """Returns the name of a stage, as it may be shown."""
    return str(data)[:STAGE_LENGTH]


def check_of(data: object) -> CheckResult:
    """Returns a verdict; raises Garbled if it is none."""
    check: CheckResult = one_of((CheckResult,), data)
    return check


def one_of(kinds: tuple[type, ...], data: object) -> Any:
    """Returns the object of one of the kinds; raises Garbled for others, and without reason."""
    known = {kind.__name__: kind for kind in kinds}
    try:
        said: Any = from_data(known[data["type"]], data)  # type: ignore[index]
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        told = f"no {' or '.join(known)}: {error!r}: {str(data)[:80]}"
        raise Garbled(clean(told)) from None
    reason: object = True
    if isinstance(said, Rejected):
        reason = said.check and said.evidence
    elif isinstance(said, Crashed):
        reason = said.stage and said.error
    if not reason:
        raise Garbled("a failure without a reason")
    return said


def expect(got: object, expected: object, what: str) -> None:
    """Raises Garbled unless a candidate's process said what was asked for."""
    if got != expected:
        raise Garbled(clean(f"{what}: expected {expected}, got {str(got)[:200]}"))


def as_list(data: object) -> list[Any]:
    """Returns a list as it is; raises Garbled for anything else."""
    if not isinstance(data, list):
        raise Garbled(f"no list: {str(data)[:80]}")
    return data


def as_object(data: object) -> dict[str, Any]:
    """Returns a JSON object as it is; raises Garbled for anything else."""
    if not isinstance(data, dict):
        raise Garbled(f"no object: {str(data)[:80]}")
    return data
