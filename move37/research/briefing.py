"""What a researcher is given, and what is taken of its answer.

The same for a team of language models and for an agent outside.
"""

from statistics import mean
from typing import Any

from move37.knowledge.retrieval import Entry, Library, entries
from move37.records import Brief, Measured, ModelSize, Proposal, Record
from move37.research.answers import Answer
from move37.research.lessons import newest
from move37.research.prompts import operators, prompt
from move37.research.showing import failure

KNOWLEDGE, REFERENCES = 5, 4  # of each, at most
COLD = "recall of key-value pairs is weak"


def document(brief: Brief, size: ModelSize, library: Library) -> str:
    """Returns the brief as one Markdown text, without paths of this machine."""
    system, request = prompt("researcher").render(**values_of(brief, size, library), left_out="")
    return f"{system}\n\n---\n\n{request}\n"


def values_of(brief: Brief, size: ModelSize, library: Library) -> dict[str, Any]:
    """Returns what the researcher's prompt is filled in with, all but `left_out`."""
    weakness = next(
        (
            lesson.weakness
            for lesson in reversed(brief.lessons)
            if brief.parent is None or lesson.candidate == brief.parent.candidate.id
        ),
        COLD,
    )
    task = (
        f"Propose a mixer that is better than its parent. Its weakness: {weakness}."
        if brief.parent
        else "Propose a mixer of your own: there is no parent yet."
    )
    return {
        "operators": operators(),
        "parameters": f"{size.parameters:,}",
        "layers": size.layers,
        "width": size.width,
        "heads": size.heads,
        "task": task,
        "parent": _shown(brief.parent) if brief.parent else None,
        "references": [_shown(one) for one in brief.references[:REFERENCES]],
        "lessons": newest(brief),
        "knowledge": [_entry(one) for one in library.nearest(weakness, KNOWLEDGE)],
        "failures": [failure(one) for one in brief.failures],
    }


def proposal_of(answer: Answer, origin: str, prompt_version: str = "") -> Proposal:
    """Returns what was proposed; of the entries that it names, those that there are."""
    known = {entry.id for entry in entries()}
    drawn_on = tuple(one for one in answer.knowledge if one in known)
    return Proposal(
        answer.name,
        answer.motivation,
        answer.source,
        origin,
        knowledge=drawn_on,
        prompt_version=prompt_version,
    )


def _shown(record: Record) -> dict[str, str]:
    proposal = record.candidate.proposal
    return {
        "name": proposal.name,
        "motivation": proposal.motivation,
        "source": proposal.source,
        "result": _result(record),
    }


def _result(record: Record) -> str:
    if not isinstance(record.outcome, Measured):
        return "Not measured."
    values: dict[tuple[str, str], list[float]] = {}
    for one in record.outcome.measurements:
        values.setdefault((one.task, one.metric), []).append(one.value)
    told = ", ".join(f"{task} {mean(of):.3f} {metric}" for (task, metric), of in values.items())
    seeds = max(map(len, values.values()), default=0)
    return f"Measured{f' (mean of {seeds} seeds)' if seeds > 1 else ''}: {told}."


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "title": entry.title,
        "year": entry.year,
        "insight": entry.insight,
        "algorithm": entry.algorithm,
    }
