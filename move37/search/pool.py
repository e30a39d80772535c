"""Who may have children: the paper's pool, as a pure function of the records.

Paper (arXiv:2507.18074, section 3): a pool of the 50 fittest; one parent drawn from the top 10,
four references from ranks 11 to 50; a cold start without selection; refreshed in batches.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from move37.history import History
from move37.records import Brief, Lesson, Measured, Record
from move37.search.board import Board
from move37.search.fitness import Form

LESSONS_PER_BRIEF = 24  # more than are told one by one: a summariser may condense them


@dataclass(frozen=True)
class Selection:
    """The numbers of the paper's selection, and what a short run needs of them."""

    pool: int = 50
    parents: int = 10
    references: int = 4
    cold_start: int = 200  # proposals without a parent
    batch: int = 50  # experiments between two refreshes of the pool
    lag: int = 8  # an experiment knows those that are at least this much older


def visible(selection: Selection, experiment: int, baselines: int) -> int:
    """Returns how many experiments the brief of this one may use.

    Those up to `experiment - lag`, rounded down to whole batches: so the brief does not depend
    on how many workers there are, nor on which of them is fast. All baselines are always there.
    """
    proposals = max(0, experiment - selection.lag + 1 - baselines)
    return baselines + proposals // selection.batch * selection.batch


def draw_brief(
    selection: Selection,
    known: History,  # what it may use
    *,
    experiment: int,
    attempt: int,
    seed: int,
    baselines: int,
    failures: Sequence[Record] = (),
    form: Form = "noise",
) -> Brief:
    """Returns what the researcher is given for one attempt of one experiment.

    The dice of parent and references depend on (seed, experiment) only, so that a repair has the
    parent of what it repairs.
    """
    rng = random.Random(f"{seed}/{experiment}")
    pool = ranked(known, form, most=selection.pool)
    parent, references = None, []
    if experiment - baselines >= selection.cold_start and pool:
        parent = rng.choice(pool[: selection.parents])
        others = pool[selection.parents :]
        # A young pool has no ranks 11 to 50: the rest of it stands in for them.
        if len(others) < selection.references:
            others = [record for record in pool if record is not parent]
        references = rng.sample(others, min(selection.references, len(others)))
    family = [r.candidate.id for r in ([parent] if parent else []) + references]
    near = known.lessons_of(family)[:LESSONS_PER_BRIEF]
    recent = known.newest_lessons(LESSONS_PER_BRIEF - len(near), but_of=family)
    return Brief(
        experiment=experiment,
        attempt=attempt,
        dice=f"{seed}/{experiment}/{attempt}",
        parent=_on_all_seeds(parent, known) if parent else None,
        references=tuple(_on_all_seeds(one, known) for one in references),
        lessons=tuple(
            _with_name(lesson, known)
            for lesson in sorted([*near, *recent], key=lambda lesson: lesson.experiment)
        ),
        failures=tuple(failures),
    )


def _on_all_seeds(record: Record, known: History) -> Record:
    """Returns the record with what further seeds of its experiment have measured."""
    result = known.result(record.candidate.id)
    if result is None or not isinstance(record.outcome, Measured):
        return record
    return replace(record, outcome=replace(record.outcome, measurements=result.measurements))


def _with_name(lesson: Lesson, known: History) -> Lesson:
    """Returns a lesson that says whose it is."""
    records = known.experiment(lesson.experiment)  # a program may have another name in another
    name = records[-1].candidate.proposal.name if records else ""
    if not name or lesson.text.startswith(f"{name} "):
        return lesson
    return replace(lesson, text=f"{name}: {lesson.text}")


def ranked(
    records: Sequence[Record], form: Form = "noise", *, most: int | None = None
) -> list[Record]:
    """Returns the first measurement of every candidate that may have children, fittest first.

    A mixer that failed a check (softmax attention is quadratic, and declares it) has none.
    `most` of them, if it is given. Raises Unscaled if there is nothing to compare with.
    """
    board = Board(records)
    most = len(records) if most is None else most
    return [board.first(place) for place in board.fittest(most, form, parents=True)]
