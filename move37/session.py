"""One run, as its user sees it: the plan first, then experiments as they end, then the result."""

import contextlib
import json
import os
import shlex
import shutil
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from move37 import interrupts, terminal
from move37.history import History
from move37.lab.client import Lab
from move37.loop import Plan, assignment, brief_of, discover, hardware, known_to
from move37.presets import Preset, warnings_for
from move37.records import (
    Crashed,
    InputError,
    Lesson,
    Measured,
    Record,
    Rejected,
    RunFailed,
    fields_of,
    to_data,
)
from move37.research.advisers import Advisers
from move37.research.composer import Composer
from move37.research.ledger import costs
from move37.research.models import Asking
from move37.research.researcher import Researcher
from move37.search.fitness import form_of
from move37.search.leaderboard import Row, leaderboard, row_of
from move37.store.store import Store
from move37.web.report import report_name, report_title, write_report

if TYPE_CHECKING:  # late: the other commands need no language model
    from move37.asking import Words

VERIFY_SECONDS = 3.0  # of a core, per program
# Of the proposals; what is measured once more, or in several attempts, is not known beforehand.
SEEDS_PER_PROPOSAL = 1.8
PROBE_STEPS = (4, 16)


class Cost(NamedTuple):
    """What a run is expected to take."""

    seed_seconds: float  # one mixer, all tasks, one seed, one core
    core_seconds: float  # all that is left to do
    wall_seconds: float


def make_plan(
    preset: Preset,
    *,
    proposals: int | None,
    seed: int,
    workers: int,
    device: str,
    fitness: str,
    judge_share: float = 0.0,
) -> Plan:
    """Returns the plan; raises InputError for words that are not known."""
    if device not in ("cpu", "cuda"):
        raise InputError(f"unknown device {device!r}: expected cpu or cuda")
    form = form_of(fitness)
    count = preset.proposals if proposals is None else proposals
    # More would only wait: an experiment starts when the one `lag` before it is done.
    workers = min(workers, preset.selection.lag)
    experiments = len(preset.baselines) + count
    return Plan(preset, experiments, seed, workers, device, form, judge_share)


def open_store(plan: Plan, path: Path | None) -> Store:
    """Opens the run's store and takes it for this run; creates it where there is none."""
    if path is None:
        path = plan.preset.default_store
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {path.parent}: {error.strerror}") from None
    store = Store.open(path, create=True)
    try:
        store.lock()
        store.check_settings(plan.settings)
    except InputError:
        store.close()
        raise
    return store


class Session:
    """A run from its first line to its last."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        history: History,
        *,
        as_json: bool,
        strict: bool,
        words: "Words",
    ) -> None:
        """`history` is what the store holds, and grows with it."""
        self.plan, self.store, self.as_json, self._strict = plan, store, as_json, strict
        self._researcher: Researcher = Composer()
        self._advisers: Advisers | None = None
        self._words = words
        self._progress: terminal.Progress | None = None
        # With --json, text for people goes to the other stream.
        self.console = Console(stderr=as_json, highlight=False, emoji=False)
        self.history = history

    @property
    def done(self) -> int:
        """Experiments in the store."""
        return self.history.experiments

    def asked(self, asking: Asking) -> None:
        """Is told what goes on with a request to a language model; called from several threads."""
        if self._progress:
            self._progress.asked(asking)

    def run(self, researcher: Researcher | None = None, advisers: Advisers | None = None) -> None:
        """Runs to the end of the plan. Raises RunFailed if that shows nothing.

        The offline composer proposes, if no other `researcher` is given; see `discover`.
        """
        self._researcher, self._advisers = researcher or self._researcher, advisers
        plan = self.plan
        if self.done < plan.experiments:
            with self._lab() as lab:
                self._say("[dim]starting the lab ...[/]" if self.console.is_terminal else "")
                seconds = seconds_before(plan, self.history) or probe(plan, lab)
                cost = cost_of(plan, seconds, self.done)
                self._print_plan(cost)
                try:
                    self._experiments(lab, cost)
                except (KeyboardInterrupt, RunFailed):
                    with contextlib.suppress(RunFailed):  # the first failure is told
                        self._write_report()  # of what there is
                    raise
        elif self.history:
            baselines = f"{len(plan.preset.baselines)} of them baselines"
            self._say(
                f"All {self.done} experiments, {baselines}, are in {self.store.path} already."
            )
        self._finish()

    def _lab(self) -> Lab:
        return Lab(strict=self._strict, warn=lambda text: self._say(f"[yellow]{escape(text)}[/]"))

    def step(self) -> None:
        """Runs one experiment and tells its five steps; the baselines first, if need be."""
        baselines = len(self.plan.preset.baselines)
        number = max(baselines, self.done)
        self.plan = replace(self.plan, experiments=number + 1)
        with self._lab() as lab:
            if self.done < baselines:
                self._say(
                    f"Measuring the {baselines} baselines first: nothing to compare with yet."
                )
                self._experiments(lab, None, until=baselines)
            if not self.as_json:
                self._tell_sample(number)
            self._experiments(lab, None, tell=not self.as_json)
        self._write_report()

    def _experiments(
        self, lab: Lab, cost: Cost | None, *, until: int | None = None, tell: bool = False
    ) -> None:
        plan = replace(self.plan, experiments=until) if until else self.plan
        self.store.keep_settings(plan.settings)
        self._progress = progress = terminal.Progress(
            self.console,
            baselines=len(plan.preset.baselines),
            done=self.done,
            total=plan.experiments,
            workers=plan.workers,
            left_seconds=cost.wall_seconds if cost else None,
        )
        started, before = time.monotonic(), self.done
        with progress:
            for records, lesson in discover(
                plan,
                self._researcher,
                lab,
                self.store,
                progress.watch,
                self._advisers,
                self.history,
            ):
                first = leaderboard(self.history, plan.form, most=1)
                mine = row_of(self.history, records[-1].candidate.id, plan.form)
                if self.as_json:
                    told = {"records": to_data(records), "lesson": to_data(lesson)}
                    told["warnings"] = list(warnings_for(records))
                    print(json.dumps(told))  # noqa: T201
                elif tell:
                    self._tell_rest(records, lesson, mine)
                else:
                    line = terminal.experiment_line(records, lesson, mine)
                    self.console.print(line, no_wrap=True, overflow="ellipsis")
                best = f"{first[0].name} {first[0].fitness:+.2f}" if first else ""
                worked, due = (
                    self._weight(before, self.done),
                    self._weight(self.done, plan.experiments),
                )
                left = (time.monotonic() - started) / worked * due
                progress.finished(records[-1].experiment, self.done, best, left)
                interrupts.stop_if_asked()

    def _weight(self, first: int, last: int) -> float:
        """Returns the trainings of these experiments, in seeds."""
        baselines = len(self.plan.preset.baselines)
        measured = max(0, min(last, baselines) - first) * len(self.plan.preset.seeds)
        return measured + max(0, last - max(first, baselines)) * SEEDS_PER_PROPOSAL

    def _print_plan(self, cost: Cost) -> None:
        plan, preset = self.plan, self.plan.preset
        baselines = max(0, len(preset.baselines) - self.done)
        proposals = plan.experiments - max(self.done, len(preset.baselines))
        tasks = ", ".join(budget.task for budget in preset.budgets)
        waits = self._words.arguments and not self._words.replay
        todo = f"{baselines} baselines x {len(preset.seeds)} seeds, " if baselines else ""
        self._say(f"[bold]move37[/] {preset.name}: {preset.summary}")
        if self.done:
            self._say(f"Going on after experiment {self.done - 1} in {self.store.path}.")
            if not self._words.arguments and (models := models_of(self.history)):
                told = f"Until now {', '.join(models)} proposed; without --model the composer does."
                self._say(f"[yellow]{escape(told)}[/]")
        self._say(
            f"Plan: {todo}{proposals} proposal{'s' * (proposals != 1)} x about "
            f"{SEEDS_PER_PROPOSAL:g} seeds, on {tasks}."
        )
        self._say(
            f"      One mixer, one seed: {cost.seed_seconds:.0f} s of a core here.\n"
            f"      All together: about {cost.core_seconds:,.0f} core-seconds, "
            f"{terminal.duration(cost.wall_seconds)} with {plan.workers} "
            f"worker{'s' * (plan.workers > 1)}"
            f"{', and what the models take' if waits else ''}."
        )
        size = preset.budgets[0].model
        lengths = ", ".join(str(budget.length) for budget in preset.budgets)
        self._say(
            f"Model: {size.parameters:,} parameters, {size.layers} "
            f"layer{'s' * (size.layers != 1)} of width {size.width}, "
            f"sequences of {lengths} tokens."
        )
        if self._words.arguments:
            from move37.asking import forecast  # late: an offline run needs none of it

            asked = forecast(self._words, self.store.calls(), proposals, done=self.done)
            if asked:
                self._say(escape("Asks:  " + "\n       ".join(asked)))
        if preset.ruler:
            r = preset.ruler
            self._say(
                f"Ruler: {r.better} has to beat {r.worse} on {r.task} by {r.gap}, {r.ceiling} to "
                f"reach {r.near}, on every seed."
            )
        for warning in preset.warnings:
            self.console.print(terminal.warning_text(warning))
        heading = terminal.experiment_heading([budget.task for budget in preset.budgets])
        self._say(f"\n[dim]{terminal.CHANGES_LEGEND}[/]\n[dim]{heading} ▲▼[/]")

    def _finish(self) -> None:
        rows = leaderboard(self.history, self.plan.form)
        report = self._write_report()
        if self.as_json:
            last = {
                "leaderboard": [fields_of(row) for row in rows],
                "warnings": list(warnings_for(self.history)),
            }
            print(json.dumps(last))  # noqa: T201
        else:
            self.console.print()
            warnings = warnings_for(self.history)
            width = self.console.width
            self.console.print(terminal.leaderboard_page(rows, warnings, width=width, most=12))
            self.console.print()
            self.console.print(terminal.summary(self.history, rows, self._cold()))
            best = next((row for row in rows if not row.is_baseline), None)
            where = _arguments(self.plan, self.store)
            self.console.print(f"\nStore   {self.store.path}\nReport  {report}")
            if self._words.replay:
                told = f"Models  replayed from {self._words.replay}: nobody was asked"
                self.console.print(Text(told), soft_wrap=True)
            if spent := costs(self.store.calls()):
                from move37.research.team import unread  # late: an offline run needs none of it

                told = terminal.spent(spent, self._words.max_dollars, self._words.max_tokens)
                if useless := len(unread(self.history)) + len(self.store.fallbacks()):
                    told += f", {useless} answer{'s' * (useless != 1)} of no use"
                told = f"Models  {told}\n        {_command()} costs{where}      by model and role"
                self.console.print(Text(told), soft_wrap=True)
            if best:
                # A cassette that is replayed may hold no more than this run.
                further = replace(self._words, replay=None)
                again = _run_arguments(self.plan, self.store) + further.arguments
                told = (
                    f"\nNext    {_command()} show {best.experiment}{where}      the best, in full\n"
                    f"        {_command()} run --experiments {2 * self._proposals()}{again}"
                    "      go on from here"
                )
                self.console.print(Text(told), soft_wrap=True)  # to be copied
        self._fail_if_nothing_measured(rows)

    def _fail_if_nothing_measured(self, rows: Sequence[Row]) -> None:
        if any(not row.is_baseline for row in rows):
            return
        endings: dict[str, int] = {}
        for record in self.history:
            if not record.candidate.proposal.is_baseline:
                outcome = record.outcome
                why = outcome.check if isinstance(outcome, Rejected) else "training"
                why = outcome.stage if isinstance(outcome, Crashed) else why
                endings[why] = endings.get(why, 0) + 1
        told = ", ".join(f"{count} at {why!r}" for why, count in sorted(endings.items()))
        raise RunFailed(f"no proposal of {self._proposals()} could be measured: {told}")

    def _proposals(self) -> int:
        return self.done - len(self.plan.preset.baselines)

    def _cold(self) -> list[int]:
        return [
            record.experiment
            for record in self.history
            if not record.parents and not record.candidate.proposal.is_baseline
        ]

    def _write_report(self) -> Path:
        return write_report(
            self.store.path.parent,
            records=self.history,
            lessons=self.history.lessons,
            title=report_title(self.plan.preset.name, self.plan.seed),
            form=self.plan.form,
            name=report_name(self.store.path),
        )

    def _tell_sample(self, number: int) -> None:
        brief = brief_of(self.plan, number, known_to(self.plan, number, self.history))
        if brief.parent is None:
            told = "The search is still cold: no parent, the researcher starts afresh."
        else:
            names = ", ".join(r.candidate.proposal.name for r in brief.references) or "none"
            told = (
                f"Parent, drawn from the ten fittest: {brief.parent.candidate.proposal.name}.\n"
                f"References: {names}. Lessons given: {len(brief.lessons)}."
            )
        self.console.print(terminal.panel(told, f"1 sample: experiment {number}"))

    def _tell_rest(self, records: Sequence[Record], lesson: Lesson, row: Row | None) -> None:
        show = self.console.print
        for record in records:
            proposal, outcome = record.candidate.proposal, record.outcome
            if record is records[0] or proposal != records[record.step - 1].candidate.proposal:
                show(terminal.panel(f"{proposal.name}\n{proposal.motivation}", "2 propose"))
            checks = getattr(outcome, "checks", ())
            if checks:
                show(terminal.panel_of(terminal.checks_table(checks), "3 verify"))
            if isinstance(outcome, Measured) and outcome.measurements:
                table = terminal.measurements_table(outcome.measurements)
                show(terminal.panel_of(table, "4 train"))
            elif not isinstance(outcome, Measured):
                show(terminal.panel(terminal.failure(record), "refused, and kept"))
        fit = (
            f"Fitness {row.fitness:+.2f} ({row.interval[0]:+.2f} .. {row.interval[1]:+.2f}). "
            if row
            else ""
        )
        warnings = warnings_for(records) if row else ()
        told = "\n".join([f"{fit}{lesson.text}", f"Next: {lesson.weakness}.", *warnings])
        show(terminal.panel(told, "5 analyse"))

    def _say(self, text: str) -> None:
        if text:
            self.console.print(text)


def cost_of(plan: Plan, seconds: float, done: int) -> Cost:
    """Returns what is left of a run, if one mixer and one seed take so many seconds of a core."""
    preset = plan.preset
    baselines = max(0, len(preset.baselines) - done)
    proposals = plan.experiments - max(done, len(preset.baselines))
    programs = baselines + proposals
    runs = baselines * len(preset.seeds) + proposals * SEEDS_PER_PROPOSAL
    core = runs * seconds + programs * VERIFY_SECONDS
    return Cost(seconds, core, core / min(plan.workers, preset.selection.lag))


def seconds_before(plan: Plan, history: Iterable[Record]) -> float | None:
    """Returns what one mixer and one seed took in this run so far, or None if that is not known.

    The median of what was trained to its end on such a machine.
    """
    machine = hardware(plan.device)
    found = []
    for record in history:
        outcome = record.outcome
        if isinstance(outcome, Measured) and record.provenance.hardware == machine:
            for seed in record.provenance.seeds:
                own = [one for one in outcome.measurements if one.seed == seed]
                if len(own) == len(plan.preset.budgets) and not any(one.stopped for one in own):
                    found.append(sum(one.seconds for one in own))
    return statistics.median(found) if found else None


def probe(plan: Plan, lab: Lab) -> float:
    """Returns the seconds of one mixer and one seed here, by training DeltaNet for a few steps.

    Two lengths, so that what is paid once (building, the held-out set) is told apart from what
    is paid per step. Raises RunFailed if the lab cannot train at all.
    """
    preset = plan.preset
    seconds = []
    for steps in PROBE_STEPS:
        budgets = tuple(
            replace(budget, tokens=steps * budget.batch * budget.length)
            for budget in preset.budgets
        )
        work = assignment(
            preset,
            preset.reference.proposal().source,
            seeds=preset.seeds[:1],
            checks=(),
            budgets=budgets,
            device=plan.device,
        )
        outcome = lab.examine(work)
        if not isinstance(outcome, Measured):
            told = outcome.error if isinstance(outcome, Crashed) else outcome.evidence
            raise RunFailed(f"the lab cannot train on {plan.device}: {told.splitlines()[0]}")
        seconds.append([m.seconds for m in outcome.measurements])
    total = 0.0
    for budget, few, many in zip(preset.budgets, *seconds, strict=True):
        per_step = max(0.0, many - few) / (PROBE_STEPS[1] - PROBE_STEPS[0])
        steps_due = budget.tokens // (budget.batch * budget.length)
        total += max(few, few + per_step * (steps_due - PROBE_STEPS[0]))
    return total


def _command() -> str:
    """Returns what the user has to type: the name alone only where the shell finds it."""
    if shutil.which("move37"):
        return "move37"
    path = os.path.relpath(sys.argv[0])
    return "python -m move37" if path.endswith("__main__.py") else path


def models_of(records: Iterable[Record]) -> list[str]:
    """Returns the language models that proposed programs, by name: PROVIDER:NAME or URL#NAME."""
    return sorted({name for one in records if ":" in (name := one.candidate.proposal.origin)})


def _arguments(plan: Plan, store: Store) -> str:
    """Returns the options that lead to this store with these settings again."""
    words = []
    if plan.preset.name != "laptop":
        words.append(f"--preset {plan.preset.name}")
    if store.path != plan.preset.default_store:
        words.append(f"--store {shlex.quote(str(store.path))}")
    return "".join(f" {word}" for word in words)


def _run_arguments(plan: Plan, store: Store) -> str:
    words = [f" --seed {plan.seed}"] * (plan.seed != 0)
    words += [f" --device {plan.device}"] * (plan.device != "cpu")
    words += [f" --fitness {plan.form}"] * (plan.form != "noise")
    return _arguments(plan, store) + "".join(words)


def interrupted(plan: Plan, store: Store) -> str:
    """Returns what to say when a run was stopped by its user."""
    return f"{stopped(plan, store)}; the same command goes on from there"


def stopped(plan: Plan, store: Store) -> str:
    """Returns how far a run came that has not ended, and where that is kept."""
    done = len({record.experiment for record in store.records()})
    baselines = len(plan.preset.baselines)
    told = terminal.how_far(done, plan.experiments, baselines)
    told += f" (and {baselines} baselines)" if done >= baselines else ""
    return f"stopped after {told}: they are kept in {store.path}"
