"""One self-contained page about a run: what was tried, what came of it, and how sure that is.

Covered: any number of experiments, refused ones, runs without a baseline. All text that a
researcher or a candidate wrote is shown as text, never as markup; the page loads nothing, and its
content policy forbids it to.
Not covered: it is a picture of the records at one moment; it does not refresh itself.
"""

import base64
import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from move37.presets import are_all_checks, warnings_for
from move37.records import (
    REFERENCE,
    Candidate,
    CheckResult,
    Crashed,
    Lesson,
    Measured,
    Measurement,
    Record,
    Rejected,
    RunFailed,
)
from move37.results import LOSS_TASK, results
from move37.search.fitness import Form
from move37.search.leaderboard import Row, leaderboard
from move37.web import charts

TEMPLATES = Path(__file__).parent / "templates"

# Beyond these numbers a long run is shortened, and the page says so: 2,000 experiments in full
# would be a page of 40 MB.
DETAILED = 200  # experiments with tables and curves
LISTED = 200  # rows of the leaderboard
RELATED = 60  # experiments in the lineage, or else the fittest with their ancestors
FAMILIES = 16  # how many of the fittest, then
GROUP = 100  # experiments that fold together, where there are more

# Fitness is coloured in steps: the difference from the reference at which a colour is full.
COLOUR_STEP: dict[Form, float] = {"noise": 1.0, "paper": 0.1}

Status = Literal["measured", "rejected", "crashed"]


@dataclass(frozen=True)
class Experiment:
    """All that is known of one experiment."""

    number: int
    candidate: Candidate  # the last one that was tried
    status: Status
    row: Row | None  # its line of the leaderboard
    rank: int | None
    records: tuple[Record, ...]
    relatives: tuple[tuple[str, int], ...]  # parents: name, experiment
    strangers: tuple[str, ...]  # parents whose records are not here: candidate ids
    lessons: tuple[Lesson, ...]
    # What `improved` and `worsened` of a lesson compare with: "its parent", or DeltaNet where no
    # parent was measured.
    compared_with: str

    @property
    def is_baseline(self) -> bool:
        """Says whether it is a published mixer."""
        return self.candidate.proposal.is_baseline

    @property
    def own(self) -> list[Record]:
        """The records of the last candidate; the others are attempts before it."""
        return [record for record in self.records if record.candidate == self.candidate]

    @property
    def measurements(self) -> list[Measurement]:
        """What was measured of the last candidate."""
        outcomes = [record.outcome for record in self.own]
        return [m for o in outcomes if isinstance(o, Measured) for m in o.measurements]

    @property
    def checks(self) -> tuple[CheckResult, ...]:
        """The last checks that the last candidate went through."""
        for record in reversed(self.own):
            if not isinstance(record.outcome, Crashed) and record.outcome.checks:
                return record.outcome.checks
        return ()


def report_name(store: Path) -> str:
    """Returns the name of the report beside a store, so that two stores have two."""
    return "report.html" if store.name == "store.sqlite" else f"{store.stem}.html"


def report_title(preset: str, seed: int) -> str:
    """Returns the title of the report of a run."""
    return f"move37 {preset}, seed {seed}"


def write_report(
    folder: Path,
    *,
    records: Sequence[Record],
    lessons: Sequence[Lesson],
    title: str,
    form: Form = "noise",
    name: str = "report.html",
) -> Path:
    """Writes the page into the folder under this name, whole or not at all; returns its path.

    Raises RunFailed if the disk takes it not: all records are in the store.
    """
    page = _render(records, lessons, title, form)
    path = folder / name
    # Several threads of several processes may write the same report.
    partial = folder / f".report-{os.getpid()}-{threading.get_ident()}.html"
    try:
        # A lone surrogate, which JSON allows and UTF-8 does not, becomes a question mark.
        partial.write_bytes(page.encode("utf-8", errors="replace"))
        os.replace(partial, path)
    except OSError as error:
        raise RunFailed(
            f"the report could not be written to {path} ({error.strerror or error}). All "
            "experiments are in the store: mend the cause, and the next run, step or submit "
            "writes it"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return path


def _render(records: Sequence[Record], lessons: Sequence[Lesson], title: str, form: Form) -> str:
    rows = leaderboard(records, form)
    experiments = _experiments(records, lessons, rows)
    reference = next((row for row in rows if _is_reference(row)), None)
    level, step = reference.fitness if reference else 0.0, COLOUR_STEP[form]

    def colour(row: Row) -> str:
        """The class of a fitness: w3 (far worse) .. w1, n (like the reference), b1 .. b3."""
        difference = (row.fitness - level) / step
        size = sum(abs(difference) >= edge for edge in (0.25, 1, 2))
        return f"{'b' if difference > 0 else 'w'}{size}" if size else "n"

    def fitness(value: float) -> str:
        digits = 1 if form == "noise" else 3  # a tenth is the least that counts
        value = round(value, digits)
        sign = "+" if form == "noise" and value else ""
        return f"{value or 0.0:{sign}.{digits}f}".replace("-", "\N{MINUS SIGN}")

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "acronym": acronym,
        "colour": colour,
        "count": count,
        "day": lambda moment: moment[:16].replace("T", " "),
        "duration": duration,
        "fitness": fitness,
        "grouped": lambda number: f"{number:,}",
        "is_reference": _is_reference,
        "kind": lambda outcome: type(outcome).__name__.lower(),
        "passed_checks": passed_checks,
        "plots": lambda experiment: _plots(experiment, experiments),
        "quantity": quantity,
        "score": score,
        "tick": tick,
    }
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    listed = rows[:LISTED] + [row for row in rows[LISTED:] if row.is_baseline]
    failed = [e.number for e in experiments if e.status != "measured"]
    provenances = [record.provenance for record in records]
    outcomes = [record.outcome for record in records]
    return environment.get_template("report.html").render(
        title=title,
        warnings=warnings_for(records),
        newest=experiments[-1].number if experiments else None,
        form=form,
        script=script,
        script_digest=digest,
        experiments=experiments,
        by_number={e.number: e for e in experiments},
        groups=_groups(experiments),
        detailed=_detailed(experiments),
        baselines=[e for e in experiments if e.is_baseline],
        proposals=[e for e in experiments if not e.is_baseline],
        rows=rows,
        listed=listed,
        ranks={row.id: rank for rank, row in enumerate(rows, start=1)},
        reference=reference,
        metrics={
            m.task: m.metric for o in outcomes if isinstance(o, Measured) for m in o.measurements
        },
        loss_task=LOSS_TASK,
        step=step,
        charts=charts,
        trend=charts.trend(rows, [e.number for e in experiments], failed) if rows else None,
        bars=charts.axis([end for row in rows for end in row.interval], 4, 100) if rows else None,
        lineage=charts.lineage(_family(experiments)),
        provenance={
            "Preset": _distinct(p.preset for p in provenances),
            "Code version": _distinct(p.code_version for p in provenances),
            "Hardware": _distinct(p.hardware for p in provenances),
            "Device": _distinct(p.device for p in provenances),
            "Language model": _distinct(p.model for p in provenances),
            "Prompt version": _distinct(p.prompt_version for p in provenances),
        },
        provenances=provenances,
    )


# ---------------------------------------------------------------- experiments


def _experiments(
    records: Sequence[Record], lessons: Sequence[Lesson], rows: Sequence[Row]
) -> list[Experiment]:
    ordered = sorted(records, key=lambda record: (record.experiment, record.step))
    origin: dict[str, Record] = {}
    for record in ordered:
        origin.setdefault(record.candidate.id, record)
    measured_in = {one.candidate.id: one.experiment for one in results(ordered)}
    ranked = {(row.experiment, row.id): (rank, row) for rank, row in enumerate(rows, start=1)}
    taught: dict[int, list[Lesson]] = {}
    for lesson in lessons:
        taught.setdefault(lesson.experiment, []).append(lesson)

    experiments = []
    for number, group in groupby(ordered, key=lambda record: record.experiment):
        mine = tuple(group)
        last = mine[-1]
        rank, row = ranked.get((number, last.candidate.id), (None, None))
        known = [origin[p] for p in last.parents if p in origin and origin[p].experiment < number]
        has_measured_parent = any(measured_in.get(p, number) < number for p in last.parents)
        experiments.append(
            Experiment(
                number=number,
                candidate=last.candidate,
                status=_status(last),
                row=row,
                rank=rank,
                records=mine,
                relatives=tuple((p.candidate.proposal.name, p.experiment) for p in known),
                strangers=tuple(p for p in last.parents if p not in origin),
                lessons=tuple(taught.get(number, ())),
                compared_with="its parent" if has_measured_parent else REFERENCE,
            )
        )
    return experiments


def passed_checks(outcome: Measured) -> str:
    """Returns which checks were passed where nothing was trained; not all need be asked for."""
    names = [check.check for check in outcome.checks]
    if are_all_checks(names):
        return "every check"
    return ", ".join(names) or "no check: none was asked for"


def _status(record: Record) -> Status:
    if isinstance(record.outcome, Measured):
        return "measured"
    return "rejected" if isinstance(record.outcome, Rejected) else "crashed"


def _is_reference(row: Row) -> bool:
    return row.is_baseline and row.name == REFERENCE


def _detailed(experiments: Sequence[Experiment]) -> set[int]:
    """The experiments that are told in full: the fittest and the newest of many."""
    if len(experiments) <= DETAILED:
        return {e.number for e in experiments}
    baselines = [e.number for e in experiments if e.is_baseline]
    fittest = sorted((e.rank, e.number) for e in experiments if e.rank is not None)
    newest = [e.number for e in experiments[-DETAILED // 4 :]]
    return {*baselines, *(number for _, number in fittest[: DETAILED * 3 // 4]), *newest}


def _groups(experiments: Sequence[Experiment]) -> list[Sequence[Experiment]]:
    if len(experiments) <= GROUP:
        return [experiments]
    return [experiments[i : i + GROUP] for i in range(0, len(experiments), GROUP)]


def _family(experiments: Sequence[Experiment]) -> dict[int, tuple[int, ...]]:
    """Experiment -> parents, for all, or for the fittest of many with their ancestors."""
    parents = {e.number: tuple(dict.fromkeys(n for _, n in e.relatives)) for e in experiments}
    if len(parents) <= RELATED:
        return parents
    fittest = sorted((e.rank, e.number) for e in experiments if e.rank is not None)[:FAMILIES]
    chosen: set[int] = set()
    for _, number in fittest:
        line = [number]
        for one in line:  # grows while it is walked
            line += [p for p in parents[one] if p not in line]
        if len(chosen.union(line)) <= RELATED or not chosen:
            chosen.update(line)
    return {e: tuple(p for p in parents[e] if p in chosen) for e in chosen}


def _plots(
    experiment: Experiment, experiments: Sequence[Experiment]
) -> list[tuple[str, str, charts.Plot]]:
    """The learning curves of an experiment: task, metric, plot over the reference's curves."""
    reference = [
        m
        for e in experiments
        if e.is_baseline and e.candidate.proposal.name == REFERENCE and e is not experiment
        for m in e.measurements
    ]
    plots = []
    for task in dict.fromkeys(m.task for m in experiment.measurements):
        own = [m for m in experiment.measurements if m.task == task]
        others = [m for m in reference if m.task == task]
        if any(curves := _curves(own)):
            plots.append((task, own[0].metric, charts.plot(curves, _curves(others))))
    return plots


def _curves(measurements: Iterable[Measurement]) -> list[charts.Curve]:
    """Without the untrained start, which would press the rest into a corner."""
    return [[(p.tokens, p.value) for p in m.curve if p.tokens] for m in measurements]


# ---------------------------------------------------------------- words and numbers


def _distinct(words: Iterable[str]) -> list[str]:
    return [word for word in dict.fromkeys(words) if word]


def acronym(name: str) -> str:
    """Returns the capitals and digits of a name, as the field does: GatedDeltaNet, GDN."""
    capitals = "".join(re.findall(r"[A-Z0-9]", name))
    return capitals[:4] if len(capitals) > 1 else name[:3]


def count(number: int, word: str) -> str:
    """Returns "1 word", "2 words" or "1,412 words"."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def quantity(value: float | None, unit: str) -> str:
    """Returns three digits with a decimal prefix and the unit: 16.9 kB."""
    if value is None:
        return "not offered"
    scaled, prefix = _prefixed(value)
    digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
    number = f"{scaled:.{digits}f}" if prefix else f"{value:.3g}"
    return f"{number}\N{NO-BREAK SPACE}{prefix}{unit}".strip()


def tick(value: float, unit: str = "") -> str:
    """Returns a round number, as short as it can be: 50 k, -2."""
    scaled, prefix = _prefixed(value)
    text = f"{scaled:g}".replace("-", "\N{MINUS SIGN}")
    return f"{text}\N{NO-BREAK SPACE}{prefix}{unit}".strip()


def _prefixed(value: float) -> tuple[float, str]:
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * factor:
            return value / factor, prefix
    return value, ""


def score(value: float, metric: str) -> str:
    """Returns a share in percent, anything else with three decimals."""
    return (
        f"{value:.1%}".replace("%", "\N{NO-BREAK SPACE}%")
        if metric == "accuracy"
        else f"{value:.3f}"
    )


def duration(seconds: float) -> str:
    """Returns a time in the two largest units that it has."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    told = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(told[:2])
