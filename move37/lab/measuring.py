"""Measures a candidate from outside of its process: verify, then train. Runs no candidate's code.

    this process                                     candidate's processes (see `answering`)
    batches, labels, model around the mixers,        mixers
    loss, optimiser, clock, score
              weights, inputs, slopes    -------->
                                         <--------   outputs, gradients

Covered: a program that changes PyTorch, the loss, the optimiser, the random state, the clock, or
the pipe changes its own process only. The process that is trained sees no held-out row. What is
learned is learned in the weights that are held here: with them a process that was never trained
names the operators that it runs, and these are played in one that has not loaded the program,
scored and counted (see `costing`). Causality, independence, prefix, and the growth of work and
memory are recomputed so as well, before a training and of what was scored (see `recompute`).
Not covered: the verdicts of all other checks come from the candidate's process; gradients may be
anything; held-out rows come from a public generator.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import NamedTuple

from move37.lab.recompute import Verdicts, recompute
from move37.lab.remote import Failed, Process, Start, blamed, is_of_the_device
from move37.lab.words import (
    OUTSIDE,
    RECOMPUTED,
    Garbled,
    as_list,
    check_of,
    expect,
    one_of,
    stage_of,
)
from move37.records import (
    Assignment,
    Audit,
    Audited,
    CheckResult,
    Crashed,
    Measured,
    Outcome,
    Rejected,
    seed_of,
)


class Examined(NamedTuple):
    """How an examination ended."""

    outcome: Outcome
    killed: bool = False  # a process was killed, and not by the lab: it may go better next time


def measure(assignment: Assignment, start: Start, report: Callable[[str], None]) -> Examined:
    """Returns how the examination ended; `report` is told each stage as it begins.

    Raises what is no candidate's fault, such as NotReady.
    """
    stage = "start"

    def enter(name: str) -> None:
        nonlocal stage
        stage = name
        report(name)

    try:
        with start() as process:
            checks = _verified(process, assignment, enter)
        if not isinstance(checks, tuple):
            return Examined(checks)
        if set(RECOMPUTED) & set(assignment.checks):
            enter(OUTSIDE)
            asked = set(assignment.checks) - set(assignment.excused)
            size = assignment.budgets[0].model
            verdicts = _outside(assignment, size.width, size.heads, asked, start)
            checks = tuple(map(verdicts.join, checks))
        for check in checks:
            if check.verdict in ("failed", "not run") and check.check not in assignment.excused:
                return Examined(Rejected(check.check, check.evidence, checks))
        due = [(seed, budget) for seed in assignment.seeds for budget in assignment.budgets]
        measurements = []
        if due:
            # Only now, and only here: no candidate's process holds the tasks in its memory.
            from move37.lab.scoring import measured, prepare

            prepare(assignment.budgets)
        for seed, budget in due:
            told = measured(assignment, budget, seed, start, enter)
            if isinstance(told, CheckResult):
                return Examined(Rejected(told.check, told.evidence, (*checks, told)))
            measurements.append(told)
        return Examined(Measured(checks, tuple(measurements)))
    except Failed as error:
        return Examined(Crashed(stage, str(error)), error.killed)
    except Garbled as error:
        return Examined(Crashed(stage, str(error)))
    except (RuntimeError, ValueError, TypeError, ArithmeticError, MemoryError) as error:
        if is_of_the_device(error):
            raise
        # PyTorch refused what the candidate is, for example its memory: one more crash, and told.
        return Examined(Crashed(stage, f"it could not be measured: {error!r}"))


def audit(
    work: Audit, start: Start, report: Callable[[str], None], tell: Callable[[Audited], None]
) -> tuple[Audited | Rejected | Crashed, bool]:
    """Returns every check's verdict, or why there are none; `tell` hears those so far.

    Also whether a process was killed, and not by the lab: it may go better next time.
    """
    stage, verdicts = "load", None

    def joined(so_far: Audited) -> Audited:
        """Returns the verdicts with those from outside, which are asked for when they are due."""
        nonlocal verdicts
        due = [check for check in so_far.checks if check.check in RECOMPUTED]
        if verdicts is None and any(check.verdict == "passed" for check in due):
            report(OUTSIDE)
            verdicts = _outside(work, work.width, work.heads, work.checks, start)
            if any((c.check, c.verdict) == ("repeatable", "failed") for c in so_far.checks):
                verdicts = verdicts._replace(reason=verdicts.reason and "see repeatable")
            report(stage)
        if verdicts is None:
            return so_far
        return replace(so_far, checks=tuple(map(verdicts.join, so_far.checks)))

    try:
        with start() as process, blamed(process):
            process.link.send({"ask": "audit"})
            while "outcome" not in (said := process.link.receive()):
                if "stage" in said:
                    stage = stage_of(said["stage"])
                    report(stage)
                else:
                    tell(joined(one_of((Audited,), said.get("so far"))))
        outcome: Audited | Rejected | Crashed = one_of(
            (Rejected, Crashed, Audited), said["outcome"]
        )
        return joined(outcome) if isinstance(outcome, Audited) else outcome, False
    except Failed as error:
        return Crashed(stage, str(error)), error.killed
    except Garbled as error:
        return Crashed(stage, str(error)), False


def _outside(
    work: Assignment | Audit, width: int, heads: int, asked: Collection[str], start: Start
) -> Verdicts:
    return recompute(
        start,
        width=width,
        heads=heads,
        level=work.level,
        seed=seed_of(work.source),
        excused=set(RECOMPUTED) - set(asked),
    )


def _verified(
    process: Process, assignment: Assignment, enter: Callable[[str], None]
) -> tuple[CheckResult, ...] | Rejected | Crashed:
    """Lets a process verify its own program; its words are parsed, not believed."""
    with blamed(process):
        process.link.send({"ask": "verify"})
        while True:
            said = process.link.receive()
            if "stage" in said:
                enter(stage_of(said["stage"]))
            elif "checks" in said:
                checks = tuple(check_of(one) for one in as_list(said["checks"]))
                expect(tuple(one.check for one in checks), assignment.checks, "checks")
                return checks
            elif "outcome" in said:
                outcome: Rejected | Crashed = one_of((Rejected, Crashed), said["outcome"])
                return outcome
            else:
                raise Garbled(str(said)[:80])
