"""Verifies the mixer of one file: every check, in the lab's child process, and no training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from move37.lab.client import Lab, Progress
from move37.presets import CHECKS
from move37.records import Audit, Audited, Crashed, InputError, Level, Rejected

# About the size of a laptop run's mixers, twice over.
WIDTH, HEADS = 64, 4
LIMIT_SECONDS: Mapping[Level, float] = {"quick": 120.0, "full": 600.0}  # for all checks together
LIMIT_BYTES = 4 << 30

# All but the one that asks for a task's budget of parameters.
NAMES = tuple(name for name in CHECKS if name != "fits")


class Target(NamedTuple):
    """A file, and the mixer in it that is meant; None: the only one."""

    file: Path
    mixer: str | None


def target_of(text: str) -> Target:
    """Reads FILE or FILE:CLASS."""
    file, colon, mixer = text.rpartition(":")
    if colon and mixer.isidentifier() and not Path(text).exists():
        return Target(Path(file), mixer)
    return Target(Path(text), None)


def checks_of(only: Sequence[str]) -> tuple[str, ...]:
    """Returns these checks in their order, or all; raises InputError for an unknown name."""
    unknown = [name for name in only if name not in NAMES]
    if unknown:
        raise InputError(f"no check {unknown[0]!r}: expected one of {', '.join(NAMES)}")
    return tuple(name for name in NAMES if not only or name in only)


def make_audit(
    target: Target, *, only: Sequence[str] = (), level: Level, width: int, heads: int
) -> Audit:
    """Returns the audit of a file; raises InputError if that or a check's name cannot be used."""
    checks = checks_of(only)
    try:
        source = target.file.read_text("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {target.file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{target.file} is not UTF-8 text: expected a Python file") from None
    return Audit(
        source, target.mixer, checks, level, width, heads, LIMIT_SECONDS[level], LIMIT_BYTES
    )


def verify(audit: Audit, file: Path, lab: Lab, progress: Progress = lambda stage: None) -> Audited:
    """Returns every verdict, or those up to the check in which the mixer ended the process.

    Raises InputError if there is nothing to verify: the program cannot be loaded, has no mixer, or
    one that cannot be built at this size.
    """
    outcome = lab.audit(audit, progress)
    if isinstance(outcome, Rejected):
        raise InputError(f"{file} cannot be verified: {outcome.evidence}")
    if isinstance(outcome, Crashed):
        raise InputError(
            f"{file} cannot be verified, at the stage {outcome.stage}: {outcome.error}"
        )
    return outcome
