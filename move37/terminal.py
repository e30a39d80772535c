"""How runs look in a terminal: the leaderboard, one line per experiment, the live line."""

import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from move37.catalogue import Entry
from move37.experiments import Experiment
from move37.presets import are_all_checks
from move37.records import (
    REFERENCE,
    Audit,
    Audited,
    CheckResult,
    Crashed,
    Fallback,
    Judgement,
    Lesson,
    Measured,
    Measurement,
    Record,
    Rejected,
    Verdict,
)
from move37.research.ledger import CostRow
from move37.research.models import ROLES, Asking
from move37.search.leaderboard import Row

VERDICTS = {
    "better": "[green]better[/]",
    "worse": "[red]worse[/]",
    "mixed": "[yellow]mixed[/]",
    "open": "[dim]open[/]",
}
CHECKED: dict[Verdict, str] = {
    "passed": "green",
    "failed": "bold red",
    "not offered": "dim",
    "not tried": "dim",
    "not run": "yellow",
}
ENDINGS = {Measured: "passed", Rejected: "refused", Crashed: "crashed"}  # of what has no fitness
BLOCKS = "▁▂▃▄▅▆▇█"
EXPERIMENTS_SHOWN = 8
FALLBACKS_SHOWN = 20
WAIT_TOLD = 5.0  # seconds: shorter waits have no line in a file
SILENCE_TOLD = 120.0  # seconds without an answer; many models think for a minute
SUMMARY = 60  # columns below which a summary would lose its point


class Column(NamedTuple):
    """A column of the leaderboard: a cell for each row, in rich's markup."""

    name: str  # in the sentence that says what was left out
    heading: str
    cells: list[str]
    style: str = ""
    is_text: bool = False  # stands at the left

    @property
    def width(self) -> int:
        """Characters of the widest line."""
        lines = self.heading.split("\n") + [Text.from_markup(cell).plain for cell in self.cells]
        return max(len(line) for line in lines)


NAME_WIDTH = 16  # of the name of a mixer, before a column is left out


def leaderboard_page(
    rows: Sequence[Row], warnings: Sequence[str], *, width: int, most: int = 0
) -> Group:
    """Returns the leaderboard with how to read it, and the warnings that belong to its numbers.

    With `most`, the first so many rows and every baseline. Where `width` columns have no room for
    all, the least important column is left out first, and the page says so; the name and the
    fitness always stay. The number under `exp` is what `move37 show` takes.
    """
    shown = [
        (place, row)
        for place, row in enumerate(rows, start=1)
        if not most or place <= most or row.is_baseline
    ]
    columns = _leaderboard_columns(shown)
    left_out: list[str] = []
    for name in [*LEAST_FIRST_BEFORE_TASKS, *reversed(_tasks(rows)), *LEAST_FIRST_AFTER_TASKS]:
        if _room_for_name(columns, width) >= NAME_WIDTH:
            break
        left_out += [column.name for column in columns if column.name == name]
        columns = [column for column in columns if column.name != name]
    table = _leaderboard_table(shown, columns, _room_for_name(columns, width))
    parts: list[RenderableType] = [table]
    if left_out:
        told = f"Left out for lack of room: {', '.join(left_out)}. A wider terminal or --json has "
        parts.append(Text(f"{told}{'it' if len(left_out) == 1 else 'them'}.", style="dim"))
    parts.append(Text.from_markup(READING))
    parts += [warning_text(warning) for warning in warnings]
    return Group(*parts)


# The order in which columns are left out, around the tasks (the last task first).
LEAST_FIRST_BEFORE_TASKS = ("number of seeds", "state", "rank")
LEAST_FIRST_AFTER_TASKS = ("interval", "experiment", "verdict")


def warning_text(warning: str) -> Text:
    """Returns a warning as it stands beside numbers."""
    return Text(warning, style="yellow")


def _tasks(rows: Sequence[Row]) -> list[str]:
    return list(rows[0].scores) if rows else []


def _leaderboard_columns(shown: Sequence[tuple[int, Row]]) -> list[Column]:
    """Returns all columns except the name of the mixer, which stands behind the first."""
    rows = [row for _, row in shown]
    is_reference = [row.is_baseline and row.name == REFERENCE for row in rows]
    both = list(zip(rows, is_reference, strict=True))
    columns = [
        Column("rank", "#", [str(place) for place, _ in shown], "dim"),
        Column("experiment", "exp", [str(row.experiment) for row in rows], "dim"),
        Column("fitness", "fit-\nness", [f"{row.fitness:+.1f}" for row in rows]),
        Column(
            "interval",
            "95 %\ninterval",
            [
                "" if reference else f"{row.interval[0]:+.1f} {row.interval[1]:+.1f}"
                for row, reference in both
            ],
            "dim",
        ),
        Column(
            "verdict",
            "verdict",
            ["[dim]-[/]" if reference else VERDICTS[row.verdict] for row, reference in both],
            is_text=True,
        ),
    ]
    for task in _tasks(rows):
        cells = [f"{row.scores[task]:.3f}{'*' * (task in row.stopped)}" for row in rows]
        columns.append(Column(task, _heading(task), cells))
    state = ["-" if row.state_bytes is None else f"{row.state_bytes / 1000:.1f}" for row in rows]
    columns.append(Column("state", "state\nkB", state))
    columns.append(Column("number of seeds", "n", [str(len(row.seeds)) for row in rows]))
    return columns


def _room_for_name(columns: Sequence[Column], width: int) -> int:
    """Returns how many characters the name of a mixer may have beside these columns."""
    return max(3, width - sum(column.width + 1 for column in columns))


def _leaderboard_table(
    shown: Sequence[tuple[int, Row]], columns: Sequence[Column], name_width: int
) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0), pad_edge=False)
    longest = max((len(row.name) + 2 * row.is_baseline for _, row in shown), default=0)
    name_width = min(name_width, max(longest, len("mixer")))
    has_rank = bool(columns) and columns[0].name == "rank"
    for n, column in enumerate(columns):
        if n == has_rank:
            table.add_column("mixer", no_wrap=True, width=name_width)
        justify: Literal["left", "right"] = "left" if column.is_text else "right"
        table.add_column(
            column.heading,
            justify=justify,
            style=column.style,
            no_wrap=True,
            width=column.width,
        )
    last = 0
    for n, (place, row) in enumerate(shown):
        if place > last + 1:
            table.add_row(*[""] * has_rank, "[dim]...[/]")
        last = place
        cells = [column.cells[n] for column in columns]
        cells.insert(int(has_rank), _name_cell(row, name_width))
        table.add_row(*cells)
    return table


def _name_cell(row: Row, width: int) -> str:
    """Returns the name of a mixer; a baseline keeps its mark where the name is shortened."""
    room = width - 2 * row.is_baseline
    name = row.name if len(row.name) <= room else f"{row.name[: max(0, room - 1)]}…"
    return f"[cyan]{escape(name)} ·[/]" if row.is_baseline else escape(name)


def _heading(task: str) -> str:
    return {"language": "bits/\nbyte", "state tracking": "state\ntrack."}.get(task, task)


MIXER_STYLES = ("bold cyan", "green", "dim", "", "", "dim")
MIXER_LEGEND = """\
T time, H heads, K key size, V value size, W window, n steps; in leading terms.
S and other large letters memories, k key, v value; the rest: move37 mixers NAME"""


def mixer_list(entries: Sequence[Entry], width: int | None) -> Text:
    """Returns the mixers of the library, a line for each; width None: as long as they are.

    It fits into 80 columns. What is left beyond is for their summaries, cut where it ends.
    """
    rows = [("mixer", "recurrence", "arXiv", "state", "time", "")]
    for entry in entries:
        short = entry.in_short
        cells = (entry.name, short.recurrence, short.arxiv, short.state, short.time)
        rows.append((*cells, entry.summary))
    gap = " " if width is not None and width < 100 else "  "
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]) - 1)]
    left = None if width is None else width - sum(widths) - len(gap) * len(widths)
    told = Text()
    for row in rows:
        line = Text()
        for cell, size, style in zip(row, widths, MIXER_STYLES, strict=False):
            line.append(cell.ljust(size) + gap, style if row is not rows[0] else "dim")
        if left is None or left >= SUMMARY:
            summary = Text(row[-1], MIXER_STYLES[-1])
            if left is not None:
                summary.truncate(left, overflow="ellipsis")
            line.append(summary)
        line.rstrip()
        told.append(line).append("\n")
    return told.append(MIXER_LEGEND, "dim")


READING = (
    "[cyan]·[/] baseline; n seeds. Fitness: gain on DeltaNet in units of seed noise, mean of loss "
    "and benchmark (asinh). Verdict, against DeltaNet on each of the two alone, and corrected for "
    "all that were tried, as the interval is not: better, worse, mixed (one up, one down), or open "
    "(undecided).\n* stopped early. No discovery is claimed: that takes fresh seeds."
)


CHANGES_LEGEND = (
    "▲ clearly better, ▼ clearly worse than its parent, or than DeltaNet where it has none."
)


def experiment_heading(tasks: Sequence[str]) -> str:
    """Returns the heading over the lines of `experiment_line`."""
    words = [("bits/byte" if task == "language" else task.split()[0])[:9] for task in tasks]
    return f"{'exp':>4}  {'mixer':<23} fitness {''.join(f'{word:>9}' for word in words)}"


def experiment_line(records: Sequence[Record], lesson: Lesson, row: Row | None) -> Text:
    """Returns one line that says what became of an experiment."""
    last = records[-1]
    proposal, outcome = last.candidate.proposal, last.outcome
    line = Text(f"{last.experiment:>4}  ", style="dim")
    line.append(f"{proposal.name[:23]:<23} ", "cyan" if proposal.is_baseline else "")
    if isinstance(outcome, Measured):
        values = row.scores if row else _means(outcome.measurements)
        line.append(f"{row.fitness:+7.2f} " if row else " " * 8, style="bold")
        line.append("".join(f"{value:9.3f}" for value in values.values()))
        line.append(_changes(lesson), style="dim")
    else:
        line.append(failure(last), style="yellow")
    refused = sum(not isinstance(record.outcome, Measured) for record in records[:-1])
    if refused:
        line.append(f"  after {refused} refused", style="dim")
    return line


def _means(measurements: Sequence[Measurement]) -> dict[str, float]:
    """Returns each task's value, averaged over seeds."""
    by_task: dict[str, list[float]] = {}
    for m in measurements:
        by_task.setdefault(m.task, []).append(m.value)
    return {task: sum(values) / len(values) for task, values in by_task.items()}


def _changes(lesson: Lesson) -> str:
    """Tells the tasks that became better or worse, each by its first three letters."""
    up = " ▲" + ",".join(task[:3] for task in lesson.improved) if lesson.improved else ""
    down = " ▼" + ",".join(task[:3] for task in lesson.worsened) if lesson.worsened else ""
    return up + down


def failure(record: Record) -> str:
    """Returns in one line why a candidate was not measured."""
    outcome = record.outcome
    if isinstance(outcome, Rejected):
        return f"refused ({outcome.check}): {outcome.evidence}"
    assert isinstance(outcome, Crashed)
    first, *lines = outcome.error.splitlines()
    # The program's own lines, the innermost last.
    at = [f" at {line}" for line in lines if re.match(r"line \d+: ", line)][-1:]
    return f"crashed ({outcome.stage}): {first}{''.join(at)}"


class Progress:
    """The live line under a run: what is going on, the best so far, the time left.

    Where it goes to a file, nothing is live: long waits for language models have a line each.
    """

    def __init__(
        self,
        console: Console,
        *,
        baselines: int,
        done: int,
        total: int,
        workers: int,
        left_seconds: float | None,
    ) -> None:
        """`done` and `total` hold the baselines too."""
        self._console = console
        self._baselines, self._total, self._workers = baselines, total, workers
        self._stages: dict[int, tuple[str, str]] = {}
        # What is asked about an experiment, since when, and what tells of a long silence.
        self._asked: dict[int, tuple[Asking, float, threading.Timer]] = {}
        self._done, self._best, self._left = done, "", left_seconds
        self._told_at = time.monotonic()
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def watch(self, experiment: int, name: str, stage: str) -> None:
        """Is told what an experiment is doing; called from several threads."""
        self._stages[experiment] = (name or "...", stage)

    def asked(self, asking: Asking) -> None:
        """Is told what goes on with a request to a language model; called from several threads."""
        number = asking.experiment
        if number is None:
            return
        if number in self._asked:
            self._asked.pop(number)[2].cancel()
        if asking.state == "ends":
            return
        silent = threading.Timer(SILENCE_TOLD, self._print_asked, (number, asking, SILENCE_TOLD))
        silent.daemon = True
        self._asked[number] = asking, time.monotonic(), silent
        if self._console.is_terminal:
            return
        if asking.state == "asks":
            silent.start()
        elif asking.wait_seconds >= WAIT_TOLD:
            self._print_asked(number, asking, 0.0)

    def _print_asked(self, number: int, asking: Asking, seconds: float) -> None:
        told = Text(f"{number:>4}  {asked_line(asking, seconds)}", style="dim")
        self._console.print(told, soft_wrap=True)

    def finished(self, experiment: int, done: int, best: str, left_seconds: float) -> None:
        """Is told that an experiment has ended."""
        self._stages.pop(experiment, None)
        self._done, self._best, self._left = done, best, left_seconds
        self._told_at = time.monotonic()

    def _render(self) -> RenderableType:
        head = Text(f"  {how_far(self._done, self._total, self._baselines)}", style="bold")
        if self._left is not None:
            left = max(0.0, self._left - (time.monotonic() - self._told_at))
            if left >= 1 or not self._asked:  # how long a model takes is not known
                head.append(f"   about {duration(left)} left", style="dim")
        if self._best:
            head.append(f"   best: {self._best}")
        stages = sorted(self._stages.copy().items())[: self._workers]
        told = {number: f"{name}: {stage}" for number, (name, stage) in stages}
        for number, (asking, since, _) in self._asked.copy().items():
            told[number] = asked_line(asking, time.monotonic() - since)
        now = [Text(f"  {number:>4}  {told[number]}", style="dim") for number in sorted(told)]
        return Group(Text(), head, *now)


def how_far(done: int, experiments: int, baselines: int) -> str:
    """Returns "3 of 5 baselines" or "2 of 8 proposals"; the experiments are both together."""
    if done < baselines or experiments <= baselines:
        return f"{done} of {baselines} baselines"
    return f"{done - baselines} of {experiments - baselines} proposals"


def asked_line(asking: Asking, seconds: float) -> str:
    """Returns what has gone on for so many seconds with a request to a language model."""
    if asking.state == "asks":
        return f"{asking.role} asks {asking.model}, {duration(seconds)} so far"
    left = duration(max(0.0, asking.wait_seconds - seconds))
    return f"{asking.role} waits {left} for {asking.model}: {asking.why}"


def duration(seconds: float) -> str:
    """Returns "40 s" or "7 min"."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def sparkline(measurement: Measurement) -> str:
    """Returns the held-out loss over training as a row of blocks."""
    losses = [point.loss for point in measurement.curve]
    low, high = min(losses), max(losses)
    span = high - low or 1.0
    return "".join(BLOCKS[round((loss - low) / span * (len(BLOCKS) - 1))] for loss in losses)


def experiment_page(shown: Experiment) -> Group:
    """Returns everything about one experiment but its program, which follows."""
    last, row, lesson, judgement = shown.last, shown.row, shown.lesson, shown.judgement
    proposal = last.candidate.proposal
    parts: list[RenderableType] = [
        Text(f"{proposal.name}", style="bold"),
        Text(
            f"experiment {last.experiment}, id {last.candidate.id}, by {proposal.origin}"
            + (f", {row.parameters:,} parameters" if row else "")
            + (
                f", fitness {row.fitness:+.2f} ({row.interval[0]:+.2f} .. {row.interval[1]:+.2f}), "
                f"{row.verdict}"
                if row
                else ""
            )
            + _unmeasured(last),
            style="dim",
        ),
        Text(),
        Text("Motivation", style="bold"),
        Text(proposal.motivation),
    ]
    if proposal.knowledge:
        parts.append(Text(f"Draws on: {', '.join(proposal.knowledge)}", style="dim"))
    if shown.lineage:
        line = " <- ".join([proposal.name, *shown.lineage])
        parts.append(Text(f"Lineage: {line}", style="dim"))
    for record in shown.records:
        parts += [Text(), Text(f"Record {record.step}: {_ending(record)}", style="bold")]
        if not isinstance(record.outcome, Crashed) and record.outcome.checks:
            parts.append(checks_table(record.outcome.checks))
        if isinstance(record.outcome, Measured) and record.outcome.measurements:
            parts.append(measurements_table(record.outcome.measurements))
    if lesson:
        parts += [Text(), Text("Lesson", style="bold"), Text(lesson.text)]
        parts.append(Text(f"Next: {lesson.weakness}", style="dim"))
        if row:
            told = "+- is of one task alone, at 95 %; verdicts are corrected for all tried."
            parts.append(Text(told, style="dim"))
    if judgement:
        parts += [Text(), Text("Judgement", style="bold"), Text(_judged(judgement))]
    if shown.warnings:
        parts += [Text(), *(warning_text(warning) for warning in shown.warnings)]
    parts += [Text(), Text("Program", style="bold")]
    return Group(*parts)


def _unmeasured(last: Record) -> str:
    if isinstance(last.outcome, Rejected):
        return f", refused ({last.outcome.check})"
    return ", crashed" if isinstance(last.outcome, Crashed) else ""


def _ending(record: Record) -> str:
    name, outcome = record.candidate.proposal.name, record.outcome
    if isinstance(outcome, Measured):
        seeds = ", ".join(str(seed) for seed in record.provenance.seeds)
        return f"{name} {f'measured with seed {seeds}' if seeds else _passed(outcome)}"
    told = failure(record)
    if isinstance(outcome, Rejected) and outcome.evidence in (c.evidence for c in outcome.checks):
        told = f"refused ({outcome.check})"  # the table below it says why
    return f"{name} {told}"


def checks_table(checks: Sequence[CheckResult]) -> Table:
    """Returns the verdicts with their evidence."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in checks:
        verdict = f"[{CHECKED[check.verdict]}]{check.verdict}[/]"
        table.add_row(Text(f"  {check.check}"), verdict, Text(check.evidence, style="dim"))
    return table


def _judged(told: Judgement) -> str:
    return (
        f"innovation {told.innovation:.1f}, complexity {told.complexity:.1f}, correctness "
        f"{told.correctness:.1f} of 10 (DeltaNet has 5), by {told.model}, asked {told.answers} "
        f"times; its answers differ by up to {told.spread:.1f}"
    )


def fallbacks_list(fallbacks: Sequence[Fallback]) -> Text:
    """Returns the answers that were of no use, by role, model and reason, the newest last.

    To be printed with soft_wrap.
    """
    alike: dict[tuple[str, str, str], list[int]] = {}
    for one in fallbacks:
        kind = (one.role, one.model, one.reason)
        alike[kind] = [*alike.pop(kind, []), one.experiment]
    told = Text(f"\nAnswers of no use: {len(fallbacks)}")
    if len(alike) > FALLBACKS_SHOWN:
        told.append(f", the newest {FALLBACKS_SHOWN} kinds of {len(alike)}")
    for (role, model, reason), each in list(alike.items())[-FALLBACKS_SHOWN:]:
        experiments = list(dict.fromkeys(each))
        newest = ", ".join(map(str, experiments[-EXPERIMENTS_SHOWN:]))
        more = len(experiments) - EXPERIMENTS_SHOWN
        told.append(f"\n  {role:<{ROLE_WIDTH}}  {model}\n")
        told.append(f"      in {newest}{f' and {more} before' if more > 0 else ''}: ", "bold")
        told.append(" ".join(reason.split()), "dim")
    return told


COSTS = ("role", "calls", "failed", "tokens in", "out", "seconds", "dollars")
ROLE_WIDTH = max(len(role) for role in ROLES)


def costs_table(rows: Sequence[CostRow]) -> Text:
    """Returns what each model cost in each role, and the sum of all.

    A model's name has a line for itself, and can be copied where that is printed with soft_wrap.
    """
    lines: list[tuple[str, ...]] = [COSTS]
    for model in sorted({row.model for row in rows}):
        lines.append((model,))
        lines += [(f"  {row.role}", *_sums([row])) for row in rows if row.model == model]
    lines.append(("all", *_sums(rows)))
    worst_cases = sum(row.worst_cases for row in rows)
    cells = [line for line in lines if len(line) > 1]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COSTS))]
    told = []
    for first, *numbers in lines:
        name = first.ljust(widths[0]) if numbers else first
        aligned = [cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=False)]
        told.append(Text("  ".join([name, *aligned])))
    told[0].stylize("dim")
    told[-1].stylize("bold")
    if worst_cases:
        calls = f"{worst_cases:,} call{'s' * (worst_cases != 1)}"
        what = f"the worst case stands for {calls} whose tokens the endpoint did not tell"
        told.append(Text(f"<= {what}", style="dim"))
    return Text("\n").join(told)


def _sums(rows: Sequence[CostRow]) -> list[str]:
    calls, failed = sum(row.calls for row in rows), sum(row.failed for row in rows)
    tokens = sum(row.input_tokens for row in rows), sum(row.output_tokens for row in rows)
    most = _at_most(rows)
    seconds = sum(row.seconds for row in rows)
    return [
        *(f"{calls:,}", f"{failed:,}"),
        *(f"{most}{count:,}" for count in tokens),
        *(f"{seconds:,.1f}", _dollars(rows)),
    ]


def _at_most(rows: Sequence[CostRow]) -> str:
    return "<= " if any(row.worst_cases for row in rows) else ""


def _dollars(rows: Sequence[CostRow], sign: str = "") -> str:
    """Tells the sum of what is known, and that there is more."""
    known = [row.dollars for row in rows if row.dollars is not None]
    unknown = ["unknown"] * (len(known) < len(rows))
    most = _at_most([row for row in rows if row.dollars])
    return " + ".join([f"{most}{sign}{sum(known):,.4f}"] * bool(known) + unknown)


def spent(rows: Sequence[CostRow], max_dollars: float | None, max_tokens: int | None) -> str:
    """Returns in one line which models were asked, and what they took of the limits."""
    names = ", ".join(sorted({row.model for row in rows}))
    calls = sum(row.calls for row in rows)
    tokens = _at_most(rows) + f"{sum(row.input_tokens + row.output_tokens for row in rows):,}"
    tokens += f" of {max_tokens:,}" if max_tokens is not None else ""
    dollars = _dollars(rows, "$")
    price = "price unknown" if dollars == "unknown" else dollars
    price += f" of ${max_dollars:,.4f}" if max_dollars is not None else ""
    return f"{names}: {calls:,} call{'s' * (calls != 1)}, {tokens} tokens, {price}"


class AuditPage:
    """Prints an audit as it goes on: a title, each verdict as it comes, and what they come to.

    Checks that were not run for the same reason are one row.
    """

    def __init__(self, console: Console, audit: Audit, file: str) -> None:
        self._console, self._audit, self._file = console, audit, file
        self._rows = -1  # how many are printed; -1: not the title either
        self._left: dict[str, list[CheckResult]] = {}  # not run, by the reason

    def tell(self, so_far: Audited) -> None:
        """Prints the verdicts that are new."""
        if self._rows < 0:
            mixer = f"{so_far.mixer} of {self._file}" if so_far.mixer else self._file
            title = f"{mixer}, width {self._audit.width}, {self._audit.heads} heads"
            self._console.print(Text(title, style="bold"), soft_wrap=True)
            self._rows = 0
        for check in so_far.checks[self._rows :]:
            if check.verdict == "not run":
                self._left.setdefault(check.evidence, []).append(check)
            else:
                self._print(check)
        self._rows = max(self._rows, len(so_far.checks))

    def _print(self, check: CheckResult) -> None:
        if self._console.is_terminal:
            self._console.print(_audit_row(check))
        else:  # a file has room, and is read line by line
            self._console.print(Text("".join(_cells(check))), soft_wrap=True)

    def end(self, audited: Audited, seconds: float) -> None:
        """Prints what is left, and the sum; `seconds` are those of the whole command."""
        self.tell(audited)
        for checks in self._left.values():  # one row for each reason: they bury what failed
            first, *others = checks
            self._print(replace(first, check=f"{len(checks)} checks") if others else first)
        count = Counter(check.verdict for check in audited.checks)
        told = ", ".join(f"{count[verdict]} {verdict}" for verdict in CHECKED if count[verdict])
        checking = sum(check.seconds for check in audited.checks)
        told += f"; {seconds:.0f} s, {checking:.0f} of them for the checks; "
        told += f"{self._audit.level} level"
        outside = [check.check for check in audited.checks if check.recomputed]
        if outside:
            told += f"\nComputed outside of the program's process: {', '.join(outside)}. "
            told += "The rest is that process's own word."
        if audited.printed_lines:
            lines = "line" if audited.printed_lines == 1 else "lines"
            told += f"\nThe program printed {audited.printed_lines:,} {lines}."
        self._console.print(Text(told), soft_wrap=True)


def _cells(check: CheckResult) -> list[str]:
    seconds = "" if check.verdict == "not run" else f"{check.seconds:.1f} s"
    evidence = " ".join(check.evidence.split())
    return [f"  {check.check:<15}", f"{check.verdict:<12}", f"{seconds:>7}  ", evidence]


def _audit_row(check: CheckResult) -> Table:
    """Returns a row of a table whose columns have the same widths in every row."""
    name, verdict, seconds, evidence = _cells(check)
    row = Table.grid()
    for cell in (name, verdict, seconds):
        row.add_column(width=len(cell), no_wrap=True)
    row.add_column(overflow="fold")
    row.add_row(
        Text(name),
        Text(verdict, style=CHECKED[check.verdict]),
        Text(seconds, style="dim"),
        Text(evidence, style="" if check.verdict == "failed" else "dim"),
    )
    return row


def _passed(outcome: Measured) -> str:
    """Says which checks were passed; a program that was only verified may have had a few."""
    names = [check.check for check in outcome.checks]
    if are_all_checks(names):
        return "passed every check"
    return f"passed {', '.join(names)}" if names else "was not checked"


def import_line(record: Record) -> Text:
    """Returns one line that says what became of an imported program."""
    line = Text(f"{record.experiment:>4}  ", style="dim")
    line.append(f"{record.candidate.proposal.name[:32]:<32} ")
    if not isinstance(record.outcome, Measured):
        return line.append(failure(record), style="yellow")
    if not record.outcome.measurements:
        return line.append(_passed(record.outcome), style="green")
    for m in record.outcome.measurements:
        line.append(f"  {m.task} {m.value:.3f}")
    return line


def measurements_table(measurements: Sequence[Measurement]) -> Table:
    """Returns the numbers with their curves."""
    table = Table(box=None, pad_edge=False)
    for heading in ("  task", "seed", "value", "held-out loss", "tokens", "seconds"):
        table.add_column(heading, header_style="dim", no_wrap=True)
    for m in measurements:
        metric = "bits/byte" if m.metric == "bits per byte" else m.metric
        table.add_row(
            f"  {m.task}",
            str(m.seed),
            f"{m.value:.3f} {metric}",
            f"{sparkline(m)} {m.curve[-1].loss:.3f}",
            f"{m.tokens:,}" + (" stopped" if m.stopped else ""),
            f"{m.seconds:.1f}",
        )
    return table


def lineage_tree(records: Sequence[Record], rows: Sequence[Row]) -> Tree:
    """Returns who descends from whom."""
    fitness = {row.id: row.fitness for row in rows}
    last: dict[int, Record] = {}
    for record in records:
        last[record.experiment] = record
    nodes: dict[str, Tree] = {}
    root = Tree("[dim]lineage: fitness, and what became of it[/]")
    for record in last.values():
        identity, name = record.candidate.id, escape(record.candidate.proposal.name)
        if record.candidate.proposal.is_baseline:
            name = f"[cyan]{name}[/]"
        if identity in fitness:
            told = f"{name} [bold]{fitness[identity]:+.2f}[/]"
        else:
            told = f"[dim]{name} {ENDINGS[type(record.outcome)]}[/]"
        parent = next((nodes[one] for one in record.parents if one in nodes), root)
        nodes[identity] = parent.add(f"{told} [dim]#{record.experiment}[/]")
    return root


def summary(records: Sequence[Record], rows: Sequence[Row], cold: Sequence[int]) -> str:
    """Returns how the run went; `cold` are the experiments without a parent."""
    last: dict[int, Record] = {}
    for record in records:
        last[record.experiment] = record
    proposed = [r for r in last.values() if not r.candidate.proposal.is_baseline]
    ends = Counter(type(record.outcome).__name__ for record in proposed)
    lines = [
        f"{len(proposed)} proposal{'s' * (len(proposed) != 1)}: {ends['Measured']} measured, "
        f"{ends['Rejected']} refused, {ends['Crashed']} crashed."
    ]
    refused: dict[str, Counter[int]] = {}
    for record in records:
        if not isinstance(record.outcome, Measured):
            reason = getattr(record.outcome, "check", "a crash")
            refused.setdefault(reason, Counter())[record.experiment] += 1
    if refused:
        told = "; ".join(f"{why} in {_places(where)}" for why, where in refused.items())
        lines.append(f"Programs refused on the way, by check and experiment: {told}.")
    mine = [row for row in rows if not row.is_baseline]
    without = [row for row in mine if row.experiment in cold]
    bred = [row for row in mine if row.experiment not in cold]
    if without and bred:
        lines.append(
            f"Best of {len(without)} without a parent {max(r.fitness for r in without):+.2f}, best "
            f"of {len(bred)} bred from the pool {max(r.fitness for r in bred):+.2f}."
        )
    return "\n".join(lines)


def _places(experiments: Counter[int]) -> str:
    """Returns 8, 10 (3 times), in the order in which they came."""
    return ", ".join(f"{n}{f' ({k} times)' * (k > 1)}" for n, k in experiments.items())


def panel(text: str, title: str) -> Panel:
    """Returns a titled box with plain text."""
    return panel_of(Text(text), title)


def panel_of(content: RenderableType, title: str) -> Panel:
    """Returns a titled box."""
    return Panel(content, title=title, title_align="left", box=box.ROUNDED, border_style="dim")
