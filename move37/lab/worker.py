"""Verifies a candidate's program, inside the process that holds it.

Whatever the program raises becomes a Crashed with the stage at which it happened; the warden (see
`zygote`) does the same for whatever ends the process.
"""

import contextlib
import io
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TextIO

from move37.lab.loading import Program, Refused, load_program
from move37.nn.language_model import LanguageModel, MixerFactory, TooLarge, meets
from move37.records import (
    Assignment,
    Audit,
    Audited,
    CheckResult,
    Crashed,
    Rejected,
    seed_of,
)
from move37.verify import CHECKS, COMPARING, Subject, after, broken, comparisons
from move37.verify.subject import describe, in_short, line_in

Report = Callable[[str], None]


def verify(assignment: Assignment, report: Report) -> tuple[CheckResult, ...] | Rejected | Crashed:
    """Returns the verdicts if none is against the program, or else how the examination ended.

    `report` is told each stage as it begins.
    """
    stage = "load"

    def enter(name: str) -> None:
        nonlocal stage
        stage = name
        report(name)

    try:
        enter("load")
        return _verify(assignment, enter)
    except Refused as error:
        return Rejected(error.check, str(error))
    except BaseException as error:  # noqa: BLE001  whatever a candidate raises is a value here
        return Crashed(stage, _with_limit(describe(error), assignment.limit_bytes))


def _verify(assignment: Assignment, enter: Report) -> tuple[CheckResult, ...] | Rejected:
    program = load_program(assignment.source)
    make = program.make
    checks: list[CheckResult] = []
    for name in assignment.checks:
        enter(f"verify: {name}")
        started = time.perf_counter()
        result = (
            _fits(make, assignment)
            if name == "fits"
            else CHECKS[name](_subject(program, assignment))
        )
        checks.append(replace(result, seconds=time.perf_counter() - started))
        if result.verdict == "failed" and name not in assignment.excused:
            return Rejected(name, result.evidence, tuple(checks))

    return tuple(checks)


def audit(
    what: Audit, report: Report, tell: Callable[[Audited], None] = lambda so_far: None
) -> Audited | Rejected | Crashed:
    """Returns every check's verdict, or why the program could not be loaded or built.

    `tell` is told the verdicts so far, with each one: a mixer may end the process in a later check.
    """
    printed = _Counted(sys.stdout)
    with contextlib.redirect_stdout(printed):
        return _audit(what, report, tell, printed)


def _audit(
    what: Audit, report: Report, tell: Callable[[Audited], None], printed: "_Counted"
) -> Audited | Rejected | Crashed:
    stage = "load"
    report(stage)
    try:
        program = load_program(what.source, what.mixer, what.folder)
        seed = seed_of(what.source)
        subject = Subject(program.make, what.width, what.heads, what.level, program.variants, seed)
        stage = f"build with width {what.width}, {what.heads} heads"
        subject.build()
    except Refused as error:
        return Rejected(error.check, str(error))
    except BaseException as error:  # noqa: BLE001  whatever a program raises is a value here
        told = _with_limit(describe(error), what.limit_bytes)
        if isinstance(error, TypeError) and "missing" in told:
            told += "\nOnly the width and the heads are chosen here: give the others a default."
        return Crashed(stage, told)
    so_far = Audited(program.name, (), printed.lines)
    tell(so_far)
    for result in _results(subject, what, report):
        checks = (*so_far.checks, result)
        so_far = replace(so_far, checks=checks, printed_lines=printed.lines)
        tell(so_far)
    return so_far


def _results(subject: Subject, what: Audit, report: Report) -> Iterator[CheckResult]:
    """Yields every check's verdict. What follows from one that failed before says so."""
    reason = None
    failed: list[str] = []
    compare: Callable[[str], CheckResult] | None = None
    for name in what.checks:
        report(f"verify: {name}")
        started = time.perf_counter()
        if reason is not None:
            told = f"{reason.short} (see {what.checks[0]})"
            yield CheckResult(name, "not run", told)
            continue
        if name == what.checks[0]:
            reason = broken(subject)
        try:
            if reason is not None:
                result = CheckResult(name, "failed", reason.told)
            elif compare is not None and name in COMPARING:
                result = compare(name)
            else:
                result = CHECKS[name](subject)
        except BaseException as error:  # noqa: BLE001  whatever a program raises is a value here
            evidence = f"raises {in_short(error)}"
            result = CheckResult(name, "failed", evidence)
            if "interface" in failed:
                result = CheckResult(name, "not run", f"follows from interface: {evidence}")
        result = after(failed, result)
        if result.verdict == "failed":
            failed.append(name)
            if name == "repeatable":
                compare = comparisons(subject)
            result = replace(result, evidence=_with_limit(result.evidence, what.limit_bytes))
        yield replace(result, seconds=time.perf_counter() - started)


def _with_limit(told: str, limit_bytes: int) -> str:
    """Returns what is told of an error, with the limit of memory if that was hit."""
    hit = any(word in told for word in ("allocate memory", "MemoryError", "bad_alloc"))
    if not hit or not limit_bytes:
        return told
    first, *lines = told.splitlines()
    return "\n".join([f"{first} (the limit of memory is {limit_bytes / 2**30:g} GiB)", *lines])


class _Counted(io.TextIOBase):
    """Passes on what is printed, and counts its lines."""

    def __init__(self, out: TextIO) -> None:
        self._out, self.lines = out, 0

    def write(self, text: str) -> int:
        """Writes the text."""
        self.lines += text.count("\n")
        return self._out.write(text)

    def flush(self) -> None:
        """Passes on what is not yet."""
        self._out.flush()


def _subject(program: Program, assignment: Assignment) -> Subject:
    size = assignment.budgets[0].model
    seed = seed_of(assignment.source)
    return Subject(program.make, size.width, size.heads, assignment.level, program.variants, seed)


def _fits(make: MixerFactory, assignment: Assignment) -> CheckResult:
    """The model around the mixer meets the parameter budget of every task."""
    sizes = sorted({budget.model for budget in assignment.budgets}, key=repr)
    for size in sizes:
        try:
            model = LanguageModel(
                make,
                vocabulary=2,  # the embedding does not count
                width=size.width,
                heads=size.heads,
                layers=size.layers,
                parameters=size.parameters,
            )
        except TooLarge as error:
            return CheckResult("fits", "failed", str(error))
        if not meets(model.size, size.parameters):
            told = f"the model has {model.size:,} parameters, not {size.parameters:,}"
            return CheckResult("fits", "failed", told)
    told = " and ".join(f"{size.parameters:,}" for size in sizes)
    return CheckResult("fits", "passed", f"a model of {told} parameters has room for it")


def place_of(frame: types.FrameType | None) -> str:
    """Returns the innermost line of the candidate's program in a stack, as " at line 7: y = f(x)".

    "" if there is none.
    """
    line = line_in(traceback.extract_stack(frame))
    return f" at {line}" if line else ""


def prepare() -> None:
    """Loads what every examination needs, so that children forked from here need not."""
    # The optimisers import it at their first use.
    import torch._dynamo

    # What is compiled first wraps Module.__init__, which would look like the program's doing.
    with contextlib.suppress(ImportError, AttributeError):
        from torch._dynamo.mutation_guard import install_generation_tagging_init

        install_generation_tagging_init()
    # One operator of unknown cost for a layer of attention, where gradients are not kept.
    torch.backends.mha.set_fastpath_enabled(False)
    torch.set_num_threads(1)
