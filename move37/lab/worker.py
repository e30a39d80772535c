"""Verifies a candidate's program, inside the process that holds it.

Whatever the program raises becomes a Crashed with the stage at which it happened; the warden (see
`zygote`) does the same for whatever ends the process.
"""

import time
import traceback
from collections.abc import Callable
from dataclasses import replace

from move37.lab.loading import FILE, Program, Refused, load_program
from move37.nn.language_model import LanguageModel, MixerFactory, TooLarge, meets
from move37.records import (
    Assignment,
    Audit,
    Audited,
    CheckResult,
    Crashed,
    Rejected,
)
from move37.verify import CHECKS, Subject

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
    except Exception as error:  # noqa: BLE001  whatever a candidate raises is a value here
        return Crashed(stage, describe(error))


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
    what: Audit, report: Report, tell: Callable[[CheckResult], None] = lambda check: None
) -> Audited | Rejected | Crashed:
    """Returns every check's verdict, or why the program could not be loaded or built.

    `tell` is told each verdict at once: a mixer may end the process in a later check.
    """
    stage = "load"
    report(stage)
    try:
        program = load_program(what.source, what.mixer)
        subject = Subject(program.make, what.width, what.heads, what.level, program.variants)
        stage = f"build with width {what.width}, {what.heads} heads"
        subject.build()
    except Refused as error:
        return Rejected(error.check, str(error))
    except Exception as error:  # noqa: BLE001  whatever a program raises is a value here
        told = describe(error)
        if isinstance(error, TypeError) and "missing" in told:
            told += "\nOnly the width and the heads are chosen here: give the others a default."
        return Crashed(stage, told)
    checks = []
    for name in what.checks:
        report(f"verify: {name}")
        started = time.perf_counter()
        try:
            result = CHECKS[name](subject)
        except Exception as error:  # noqa: BLE001  whatever a program raises is a value here
            result = CheckResult(name, "failed", f"raises {describe(error)}")
        checks.append(replace(result, seconds=time.perf_counter() - started))
        tell(checks[-1])
    return Audited(program.name, tuple(checks))


def _subject(program: Program, assignment: Assignment) -> Subject:
    size = assignment.budgets[0].model
    return Subject(program.make, size.width, size.heads, assignment.level, program.variants)


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


def describe(error: BaseException) -> str:
    """Returns the error in a few lines, with the candidate's own lines of the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == FILE]
    # The program's own lines, each once; of move37 none, which would be taken for its own.
    lines = list(dict.fromkeys(f"line {frame.lineno}: {frame.line}" for frame in own[-3:]))
    if isinstance(error, SyntaxError):
        lines = [f"line {error.lineno}: {(error.text or '').strip()[:200]}"]
    message = str(error).strip().splitlines()
    told = f"{type(error).__name__}: {message[0][:300] if message else ''}".rstrip(": ")
    return "\n".join([told, *lines])


def prepare() -> None:
    """Loads what every examination needs, so that children forked from here need not."""
    # The optimisers import it at their first use.
    import torch._dynamo

    torch.set_num_threads(1)
