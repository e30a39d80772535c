"""One examination: verify, then train. Runs inside the child process.

Whatever the candidate's program raises becomes a Crashed with the stage at which it happened;
the warden (see `zygote`) does the same for whatever ends the process.
"""

import copy
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from move37.lab.loading import FILE, Program, Refused, load_program
from move37.nn.language_model import LanguageModel, MixerFactory, TooLarge
from move37.records import (
    Assignment,
    Audit,
    Audited,
    CheckResult,
    Crashed,
    Measured,
    Measurement,
    Outcome,
    Rejected,
    TaskBudget,
    to_data,
)
from move37.tasks import task
from move37.train.trainer import Diverged, build, train
from move37.verify import CHECKS, Subject

Report = Callable[[str], None]

# Trained weights are larger than drawn ones: float64 rounding grows with them.
TRAINED_TOLERANCE = 1e-6
# Rounding in float32 is some 1e-6 of the largest logit; a leak that pays is far larger.
SCORED_TOLERANCE = 1e-3
SIZE_TOLERANCE = 0.01


def serve(request: Assignment | Audit, say: Callable[[dict[str, Any]], None]) -> Outcome | Audited:
    """Does what is asked; says each stage as it begins and, in an audit, each verdict."""

    def report(stage: str) -> None:
        say({"stage": stage})

    if isinstance(request, Assignment):
        return examine(request, report)
    return audit(request, report, lambda check: say({"check": to_data(check)}))


def examine(assignment: Assignment, report: Report) -> Outcome:
    """Returns how the examination ended; `report` is told each stage as it begins."""
    stage = "load"

    def enter(name: str) -> None:
        nonlocal stage
        stage = name
        report(name)

    try:
        enter("load")
        return _examine(assignment, enter)
    except Refused as error:
        return Rejected(error.check, str(error))
    except Exception as error:  # noqa: BLE001  whatever a candidate raises is a value here
        return Crashed(stage, describe(error))


def _examine(assignment: Assignment, enter: Report) -> Outcome:
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

    measurements: list[Measurement] = []
    for seed in assignment.seeds:
        for budget in assignment.budgets:
            where = f"train: {budget.task}, seed {seed}"
            enter(where)
            try:
                measurement, model = train(
                    make,
                    budget,
                    seed=seed,
                    stops=assignment.stops,
                    device=assignment.device,
                    progress=lambda share, where=where: enter(f"{where}, {share:.0%}"),  # type: ignore[misc]
                )
            except Diverged as error:
                told = f"{budget.task} with seed {seed}: {error}"
                return Rejected("trainable", told, tuple(checks))
            measurements.append(measurement)
            enter(f"verify: {budget.task} with trained weights")
            for after in (
                _has_size(measurement.parameters, budget, "after training"),
                _causal_after_training(model, budget, assignment.device),
                _prefix_after_training(model, budget, assignment.device),
            ):
                if after.verdict == "failed":
                    return Rejected(after.check, after.evidence, (*checks, after))
    return Measured(tuple(checks), tuple(measurements))


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
    for budget in assignment.budgets:
        try:
            model = build(make, budget, seed=0)
        except TooLarge as error:
            return CheckResult("fits", "failed", str(error))
        size = _has_size(model.size, budget, "before training")
        if size.verdict == "failed":
            return size
    sizes = sorted({budget.model.parameters for budget in assignment.budgets})
    told = " and ".join(f"{size:,}" for size in sizes)
    return CheckResult("fits", "passed", f"a model of {told} parameters has room for it")


def _has_size(found: int, budget: TaskBudget, when: str) -> CheckResult:
    """The model has the size that was agreed, within 1 %, whatever it became on the way."""
    due = budget.model.parameters
    if abs(found - due) > SIZE_TOLERANCE * due:
        told = f"{when} on {budget.task} the model has {found:,} parameters, not {due:,}"
        return CheckResult("fits", "failed", told)
    return CheckResult("fits", "passed", f"{found:,} parameters")


@torch.no_grad()
def _causal_after_training(model: LanguageModel, budget: TaskBudget, device: str) -> CheckResult:
    """On every scored batch, as it is scored, redrawing a row's end leaves what is said before it.

    In the precision and at the shape of the score: a program may know both.
    """
    what = task(budget.task)
    rng = torch.Generator().manual_seed(0)
    model.eval()
    for batch in what.held_out(batch=budget.batch, length=budget.length):
        B, T = batch.inputs_BT.shape
        cut_B1 = 1 + torch.arange(B)[:, None] % (T - 1)  # each row has a cut of its own
        past_BT = torch.arange(T)[None] < cut_B1
        other_BT = torch.randint(what.vocabulary, (B, T), generator=rng)
        changed_BT = torch.where(past_BT, batch.inputs_BT, other_BT)
        said_BTC, again_BTC = (model(x.to(device)) for x in (batch.inputs_BT, changed_BT))
        gap_BTC = (said_BTC - again_BTC).abs() / said_BTC.abs().amax().clamp(min=1)
        gap = gap_BTC.masked_fill(~past_BT[..., None].to(device), 0).max().item()
        if not gap <= SCORED_TOLERANCE:
            told = f"trained on {budget.task}, an output moves by {gap:.1e} with what follows it"
            return CheckResult("causality", "failed", told)
    return CheckResult("causality", "passed", f"holds as {budget.task} is scored")


@torch.no_grad()
def _prefix_after_training(model: LanguageModel, budget: TaskBudget, device: str) -> CheckResult:
    """The trained model says the same of a scored sequence when its end is not there yet."""
    held_out = task(budget.task).held_out(batch=budget.batch, length=budget.length)
    tokens_BT = held_out[0].inputs_BT[:8].to(device)
    exact = copy.deepcopy(model).double().eval()
    whole_BTC = exact(tokens_BT)
    scale = max(1.0, whole_BTC.abs().max().item())
    for t in (1, budget.length // 3, budget.length // 2, budget.length - 1):
        gap = (exact(tokens_BT[:, :t]) - whole_BTC[:, :t]).abs().max().item() / scale
        if not gap <= TRAINED_TOLERANCE:
            told = (
                f"trained on {budget.task}, the first {t} outputs move by {gap:.1e} "
                "when the sequence ends there"
            )
            return CheckResult("prefix", "failed", told)
    return CheckResult("prefix", "passed", f"holds with the weights trained on {budget.task}")


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

    from move37.tasks.language import speeches

    speeches()
    torch.set_num_threads(1)
