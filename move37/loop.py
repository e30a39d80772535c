"""The discovery loop: the one place where researcher, lab, search and store meet.

Parallelism is a pool around it. The brief of an experiment knows the experiments that are older by
the preset's lag, and nothing else decides it: so one worker and two give the same records. The
store is the only state: a killed run goes on by starting it again, resuming has no code of its own.
"""

import contextlib
import functools
import gc
import os
import platform
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from move37 import __version__
from move37.history import History
from move37.presets import CHECKS, Baseline, Preset
from move37.records import (
    Assignment,
    Brief,
    Candidate,
    Lesson,
    Level,
    Measured,
    Measurement,
    Outcome,
    Proposal,
    Provenance,
    Record,
    RunFailed,
    Stop,
    TaskBudget,
)
from move37.research.advisers import Advisers, Offline
from move37.research.novelty import repeats
from move37.research.researcher import NoProposal, Researcher
from move37.research.syntax import fingerprint
from move37.search.decisions import check_ruler, question_is_open, stops_from, too_good
from move37.search.fitness import Form
from move37.search.pool import draw_brief, visible
from move37.store.store import Store

# So many more objects than before make the collector look for cycles while a run goes on.
NEW_OBJECTS = 100_000


class Lab(Protocol):
    """A child process, a pool, or a cluster: the loop cannot tell which."""

    def examine(self, assignment: Assignment, progress: Callable[[str], None] = ...) -> Outcome: ...


class Keeper(Protocol):
    """Where records are kept: see move37.store."""

    def append(self, records: Sequence[Record], lessons: Sequence[Lesson] = ()) -> None: ...
    def records(self) -> list[Record]: ...
    def lessons(self) -> list[Lesson]: ...


# Told what an experiment is doing: its number, the name of the candidate, the stage.
Watch = Callable[[int, str, str], None]


@dataclass(frozen=True)
class Plan:
    """What a run is to do."""

    preset: Preset
    experiments: int  # baselines and proposals together
    seed: int
    workers: int = 2
    device: str = "cpu"
    form: Form = "noise"
    judge_share: float = 0.0  # of the judgement in the fitness: see `History`

    @property
    def settings(self) -> dict[str, Any]:
        """What has to be the same when a run goes on."""
        return {
            "preset": self.preset.name,
            "version of the preset": self.preset.fingerprint,
            "seed": self.seed,
            "device": self.device,
            "fitness": self.form,
            "share of the judge": self.judge_share,
        }


def discover(
    plan: Plan,
    researcher: Researcher,
    lab: Lab,
    store: Keeper,
    watch: Watch = lambda experiment, name, stage: None,
    advisers: Advisers | None = None,
    history: History | None = None,
) -> Iterator[tuple[list[Record], Lesson]]:
    """Runs experiments until the store holds as many as planned; yields each new one.

    Without `advisers` no model is asked about an idea, and lessons are computed. `history` is what
    the store holds, where it was read already; it grows. Raises RunFailed if a baseline fails, or
    the ruler that they are to be does not hold.
    """
    advisers = advisers or Offline()
    history = History(store.records(), store.lessons()) if history is None else history
    done = history.experiments
    baselines = len(plan.preset.baselines)
    if plan.preset.ruler and done >= baselines:
        check_ruler(plan.preset.ruler, history.baselines)
    _judge_late(advisers, history, plan.preset.selection.lag)
    pool = ThreadPoolExecutor(plan.workers, thread_name_prefix="experiment")
    running: deque[tuple[_Experiment, Future[list[Record]]]] = deque()
    # Each program that is read makes thousands of nodes, which go without the collector: it would
    # look at all that is there again and again.
    often = gc.get_threshold()
    gc.set_threshold(NEW_OBJECTS, *often[1:])
    try:
        while done < plan.experiments:
            number = done + len(running)
            while number < plan.experiments and _may_start(plan, number, done):
                known = known_to(plan, number, history)
                beside = [_known(record) for record in history[len(known) :] if record.step == 0]
                beside += [earlier.first for earlier, _ in running]
                work = _Experiment(plan, researcher, lab, watch, number, known, beside, advisers)
                running.append((work, pool.submit(work.run)))
                number += 1

            _, result = running.popleft()
            records = result.result()  # in order, whichever ends first
            lesson = advisers.analyse(records, history)
            store.append(records, [lesson])  # first on disk, then in memory
            history.add(records, lesson, advisers.judge(records, history))
            done += 1
            yield records, lesson
            if plan.preset.ruler and done == baselines:
                check_ruler(plan.preset.ruler, history.baselines)
    finally:
        gc.set_threshold(*often)
        pool.shutdown(wait=False, cancel_futures=True)


def _judge_late(advisers: Advisers, history: History, lag: int) -> None:
    """Asks for the judgements that a kill or a spent limit has prevented.

    So many of the newest experiments may have been in flight when a limit was met.
    """
    for number in range(max(0, history.border - lag), history.border):
        records = history.experiment(number)
        if records and records[-1].provenance.model:
            late = advisers.judge(records, history.until(number))
            if late is not None:
                history.add_judgement(late)


def read(store: Store, *, judge_share: float | None = None) -> History:
    """Returns all that a store holds; the judge has the share that the run was started with."""
    if judge_share is None:
        judge_share = float(store.settings().get("share of the judge", 0.0))
    return History(store.records(), store.lessons(), store.judgements(), judge_share=judge_share)


def try_one(
    plan: Plan,
    proposal: Proposal,
    parent: Record | None,
    lab: Lab,
    history: History,
    watch: Watch = lambda experiment, name, stage: None,
    advisers: Advisers | None = None,
) -> tuple[list[Record], Lesson]:
    """Takes a program through an experiment of its own, which knows all in `history`.

    The program has one attempt. Nothing is written; the history has to hold the baselines.
    """
    advisers = advisers or Offline()
    number = history.experiments
    given = Brief(number, 0, "", parent, references=(), lessons=(), failures=())
    plan = replace(plan, preset=replace(plan.preset, attempts=1))
    told = _Given(proposal)
    work = _Experiment(plan, told, lab, watch, number, history, [], advisers, given=given)
    records = work.run()
    return records, advisers.analyse(records, history)


@dataclass(frozen=True)
class _Given:
    """A researcher that has its proposal already."""

    proposal: Proposal

    def propose(self, brief: Brief) -> Proposal:  # noqa: ARG002
        return self.proposal


def known_to(plan: Plan, number: int, history: History) -> History:
    """Returns what this experiment may know; a baseline knows nothing."""
    baselines = len(plan.preset.baselines)
    border = 0 if number < baselines else visible(plan.preset.selection, number, baselines)
    return history.until(border)


def brief_of(
    plan: Plan,
    number: int,
    known: History,
    failures: Sequence[Record] = (),
) -> Brief:
    """Returns the brief of this experiment, after the attempts that failed."""
    return draw_brief(
        plan.preset.selection,
        known,
        experiment=number,
        attempt=len(failures),
        seed=plan.seed,
        baselines=len(plan.preset.baselines),
        failures=failures,
        form=plan.form,
    )


def _may_start(plan: Plan, number: int, done: int) -> bool:
    if number < len(plan.preset.baselines):
        return True
    return done >= max(len(plan.preset.baselines), number - plan.preset.selection.lag + 1)


First = tuple[int, Proposal]  # an experiment and its first program


def _known(record: Record) -> Future[First]:
    first: Future[First] = Future()
    first.set_result((record.experiment, record.candidate.proposal))
    return first


@dataclass(frozen=True)
class _Experiment:
    """One idea: its attempts, its seeds, and the second look at what is too good.

    The brief does not know the experiments beside this one; but that no program is tried twice,
    each waits for the first programs of those before it, which do not depend on the workers.
    """

    plan: Plan
    researcher: Researcher
    lab: Lab
    watch: Watch
    number: int
    known: History
    beside: list[Future[First]]  # those between the brief's horizon and this one
    advisers: Advisers
    first: Future[First] = field(default_factory=Future)
    given: Brief | None = None  # in place of one that is drawn

    def run(self) -> list[Record]:
        """Returns the records of this experiment, in order."""
        try:
            return self._run()
        except BaseException as error:
            if not self.first.done():
                self.first.set_exception(error)
            raise

    def _run(self) -> list[Record]:
        preset = self.plan.preset
        if self.number < len(preset.baselines):
            baseline = preset.baselines[self.number]
            self.first.set_result((self.number, baseline.proposal()))
            return self._baseline(baseline)
        records: list[Record] = []
        for _ in range(preset.attempts):
            self.watch(self.number, "", "propose")
            brief = self.given or brief_of(self.plan, self.number, self.known, records)
            outcome: Outcome | None = None
            try:
                candidate = _candidate(self.researcher.propose(brief))
            except NoProposal as none:
                candidate, outcome = _candidate(none.proposal), none.outcome
            if not records:
                self.first.set_result((self.number, candidate.proposal))
            parents = (brief.parent.candidate.id,) if brief.parent else ()
            tried = [(r.experiment, r.candidate.proposal) for r in records]
            tried += [first.result() for first in self.beside]
            outcome = outcome or repeats(candidate.proposal, tried, self.known)
            outcome = outcome or self.advisers.known(brief, candidate.proposal, tried, self.known)
            if outcome is not None:
                records.append(self._record(len(records), candidate, parents, outcome))
                continue
            assignment = self._assignment(candidate, seeds=preset.seeds[:1])
            records.append(self._examine(len(records), candidate, parents, assignment))
            if isinstance(records[-1].outcome, Measured):
                return self._look_closer(records)
        return records

    def _look_closer(self, records: list[Record]) -> list[Record]:
        """Spends further seeds where the first left it open, and doubts what is too good."""
        first = records[-1]
        candidate, parents = first.candidate, first.parents
        for seed in self.plan.preset.seeds[1:]:
            if not question_is_open(self.known, records, candidate.id):
                break
            assignment = replace(self._assignment(candidate, seeds=(seed,)), checks=())
            records.append(self._examine(len(records), candidate, parents, assignment))
            if not isinstance(records[-1].outcome, Measured):
                return records
        if too_good(self.known, records, candidate.id):
            assignment = replace(self._assignment(candidate, seeds=()), level="full")
            records.append(self._examine(len(records), candidate, parents, assignment))
        return records

    def _baseline(self, baseline: Baseline) -> list[Record]:
        candidate = _candidate(baseline.proposal())
        assignment = self._assignment(candidate, self.plan.preset.seeds, baseline.excused)
        record = self._examine(0, candidate, (), assignment)
        if not isinstance(record.outcome, Measured):
            raise RunFailed(f"the baseline {baseline.name} could not be measured: {record.outcome}")
        return [record]

    def _assignment(
        self, candidate: Candidate, seeds: tuple[int, ...], excused: tuple[str, ...] = ()
    ) -> Assignment:
        return assignment(
            self.plan.preset,
            candidate.proposal.source,
            seeds=seeds,
            excused=excused,
            stops=self._stops() if not candidate.proposal.is_baseline else (),
            device=self.plan.device,
        )

    def _stops(self) -> tuple[Stop, ...]:
        return stops_from(
            measurement for record in self.known.baselines for measurement in _measurements(record)
        )

    def _examine(
        self, step: int, candidate: Candidate, parents: tuple[str, ...], work: Assignment
    ) -> Record:
        name = candidate.proposal.name
        started, moment = time.perf_counter(), datetime.now(UTC)
        outcome = self.lab.examine(work, lambda stage: self.watch(self.number, name, stage))
        seconds = time.perf_counter() - started
        return self._record(step, candidate, parents, outcome, work.seeds, moment, seconds)

    def _record(
        self,
        step: int,
        candidate: Candidate,
        parents: tuple[str, ...],
        outcome: Outcome,
        seeds: tuple[int, ...] = (),
        moment: datetime | None = None,
        seconds: float = 0.0,
    ) -> Record:
        provenance = Provenance(
            preset=self.plan.preset.name,
            seeds=seeds,
            code_version=__version__,
            device=self.plan.device,
            hardware=hardware(self.plan.device),
            started_at=(moment or datetime.now(UTC)).isoformat(timespec="seconds"),
            seconds=seconds,
            model=candidate.proposal.origin if candidate.proposal.prompt_version else "",
            prompt_version=candidate.proposal.prompt_version,
        )
        return Record(self.number, step, candidate, parents, outcome, provenance)


def _candidate(proposal: Proposal) -> Candidate:
    return Candidate.of(proposal, fingerprint(proposal.source))


def assignment(
    preset: Preset,
    source: str,
    *,
    seeds: tuple[int, ...],
    excused: tuple[str, ...] = (),
    stops: tuple[Stop, ...] = (),
    device: str = "cpu",
    checks: tuple[str, ...] = CHECKS,
    budgets: tuple[TaskBudget, ...] | None = None,
    level: Level = "quick",
) -> Assignment:
    """Returns the assignment that a preset gives to a program."""
    return Assignment(
        source=source,
        checks=checks,
        excused=excused,
        level=level,
        budgets=preset.budgets if budgets is None else budgets,
        seeds=seeds,
        stops=stops,
        device=device,
        limit_seconds=preset.limit_seconds * max(1, len(seeds)),
        limit_bytes=preset.limit_bytes,
    )


def _measurements(record: Record) -> tuple[Measurement, ...]:
    return record.outcome.measurements if isinstance(record.outcome, Measured) else ()


@functools.cache
def hardware(device: str = "cpu") -> str:
    """Returns the processor, the cores and the version of PyTorch, for the provenance.

    With another device than the CPU, its name comes first, as NVIDIA's driver gives it.
    """
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    told = f"{name}, {os.cpu_count()} cores, torch {metadata.version('torch')}"
    return told if device == "cpu" else ", ".join([*_cards(Path("/proc/driver/nvidia/gpus")), told])


def _cards(folder: Path) -> list[str]:
    found = []
    for file in sorted(folder.glob("*/information")):
        with contextlib.suppress(OSError):
            lines = file.read_text().splitlines()
            found += [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")]
    return found
