"""What models make of results: a lesson in words beside the computed one, and a digest of many."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from move37.history import History
from move37.records import Brief, Lesson, Record, Rejected
from move37.research.analyst import analyse
from move37.research.answers import Unusable
from move37.research.roles import Asker, read_prose
from move37.research.showing import shown

ANALYST, SUMMARISER = "analyst", "summariser"
SIBLINGS = 3
MOST_LESSONS = 8  # that a brief holds without a digest
MOST_LINES = 6


def analysed(asker: Asker, experiment: Sequence[Record], history: Sequence[Record]) -> Lesson:
    """Returns the computed lesson, with a model's sentences and its words for what is weak.

    What improved and worsened stays computed. The computed lesson alone, where no model can add
    to it: for a baseline, a program that was never examined, an answer that is of no use.
    """
    computed = analyse(experiment, history)
    last = experiment[-1]
    unexamined = isinstance(last.outcome, Rejected) and last.outcome.check in ("novelty", "answer")
    if last.candidate.proposal.is_baseline or unexamined:
        return computed
    number = last.experiment

    def read(answer: Mapping[str, Any]) -> Lesson:
        text = read_prose("text", answer["text"], most=1_000)
        return replace(
            computed, text=f"{computed.text} {text}", weakness=_weakness(answer, computed)
        )

    spec = asker.choose(ANALYST, f"{number}/{last.candidate.id}")
    values = _family(experiment, history) | {"computed": computed}
    lesson = asker.ask(spec, ANALYST, values, ("text",), read, experiment=number)
    return lesson or computed


def _weakness(answer: Mapping[str, Any], computed: Lesson) -> str:
    told = answer.get("weakness")
    if not isinstance(told, str) or "\n" in told.strip():
        return computed.weakness
    try:
        return read_prose("weakness", told, most=200).rstrip(".")
    except Unusable:
        return computed.weakness


def _family(experiment: Sequence[Record], history: Sequence[Record]) -> dict[str, Any]:
    """The candidate, its parent, siblings and grandparent, each with its result."""
    known, own = History.of(history), experiment[-1]
    parent = own.parents[0] if own.parents else ""
    grandparent = next((r.parents[0] for r in known.of_candidate(parent) if r.parents), "")
    others = [one for one in known.children(parent) if one != own.candidate.id]
    return {
        "candidate": shown(own.candidate.id, [*known.of_candidate(own.candidate.id), *experiment]),
        "parent": shown(parent, known),
        "siblings": [shown(one, known) for one in others[::-1][:SIBLINGS]],
        "grandparent": shown(grandparent, known),
    }


def newest(brief: Brief) -> list[str]:
    """Returns the lessons of parent and references, and then the newest, eight at most."""
    records = [brief.parent, *brief.references] if brief.parent else brief.references
    family = {record.candidate.id for record in records}
    near = [lesson for lesson in brief.lessons if lesson.candidate in family]
    others = [lesson for lesson in brief.lessons if lesson.candidate not in family]
    kept = (near + others[::-1])[:MOST_LESSONS]
    return [lesson.text for lesson in brief.lessons if lesson in kept]


def digest(asker: Asker, brief: Brief, task: str, fallback: Sequence[str]) -> Sequence[str]:
    """Returns at most six lines on what the brief's lessons say about its task.

    The `fallback` where they are few, or no line can be had from a model.
    """
    if len(brief.lessons) <= MOST_LESSONS:
        return fallback
    values = {
        "task": task,
        "lessons": [{"experiment": one.experiment, "text": one.text} for one in brief.lessons],
    }

    def read(answer: Mapping[str, Any]) -> list[str]:
        told = answer["lines"]
        listed = told if isinstance(told, list) else str(told).split("\n")
        lines = [str(line).strip().lstrip("-*• ") for line in listed if str(line).strip()]
        if not 1 <= len(lines) <= MOST_LINES:
            raise Unusable(f"Expected 1 to {MOST_LINES} texts in 'lines', got {len(lines)}.")
        return [read_prose("lines", line, most=400) for line in lines]

    spec = asker.choose(SUMMARISER, brief.dice)
    found = asker.ask(spec, SUMMARISER, values, ("lines",), read, experiment=brief.experiment)
    return found or fallback
