"""A team of language models as the researcher: one invents, one repairs.

    brief without failures           researcher   motivation and program, from parent, references,
                                                  lessons, knowledge
    a program was refused, crashed   engineer     the same idea, mended, from the evidence
    an answer could not be used      the same     once more, with the reason; then it is recorded

What a model says is read, never believed: `answers` takes the program out of it, novelty, lab and
analyst judge it as they judge any other.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from move37.knowledge.retrieval import Entry, Library, entries
from move37.records import (
    Brief,
    Crashed,
    InputError,
    Measured,
    ModelSize,
    Proposal,
    Record,
    Rejected,
)
from move37.research.answers import Answer, Unusable, read_answer
from move37.research.chooser import Payoff, choose
from move37.research.models import LanguageModels, ModelSpec, Reply, TooLong
from move37.research.prompts import operators, prompt
from move37.research.researcher import NoProposal

MAX_OUTPUT_TOKENS = 16_000
KNOWLEDGE, REFERENCES, LESSONS = 5, 4, 8  # of each, at most
# What is left out of a brief that is too long, from the first step on: how many of each are kept.
SHORTER = (
    {"knowledge": 2, "reference programs": 2},
    {"knowledge": 1, "reference programs": 0, "lessons": 4},
    {"knowledge": 0, "reference programs": 0, "lessons": 2, "references": 2},
    {"knowledge": 0, "reference programs": 0, "lessons": 0, "references": 0},
)
COLD = "recall of key-value pairs is weak"


class Part(NamedTuple):
    """What one role is given: the values of its prompt, and what may be left out."""

    role: str
    values: dict[str, Any]
    source: str | None  # that edits refer to


class Team:
    """Answers a brief with a program that language models wrote."""

    def __init__(
        self,
        models: LanguageModels,
        specs: Sequence[ModelSpec],
        size: ModelSize,
        *,
        library: Library | None = None,
        payoffs: Callable[[], Sequence[Payoff]] = lambda: (),
    ) -> None:
        """`payoffs` says what each model cost and brought so far; a chooser learns from it."""
        for role in ("researcher", "engineer"):
            if not any(spec.plays(role) for spec in specs):
                raise InputError(f"no model plays {role!r}: name it in the roles of one")
        self._models, self._specs, self._size = models, specs, size
        self._library = library or Library()
        self._payoffs = payoffs

    def propose(self, brief: Brief) -> Proposal:
        """Returns a program; raises NoProposal if two answers held none that can be examined.

        Raises RunFailed if the models cannot be asked.
        """
        part = self._part(brief)
        spec = choose(self._specs, self._payoffs(), role=part.role, dice=brief.dice)
        told = ""
        for _ in range(2):
            reply = self._ask(spec, part, brief.experiment, told)
            try:
                answer = read_answer(reply.text, parent=part.source, finished=reply.finished)
            except Unusable as error:
                told = _again(reply, str(error))
                reason = str(error)
                continue
            return self._proposal(answer, spec)
        unread = Proposal("Unread", f"An answer of {spec.name}.", reply.text, spec.name)
        raise NoProposal(unread, Rejected("answer", reason))

    def _proposal(self, answer: Answer, spec: ModelSpec) -> Proposal:
        known = {entry.id for entry in entries()}
        drawn_on = tuple(one for one in answer.knowledge if one in known)
        return Proposal(
            answer.name, answer.motivation, answer.source, spec.name, knowledge=drawn_on
        )

    def _ask(self, spec: ModelSpec, part: Part, experiment: int, told: str) -> Reply:
        """Asks; a brief that is too long for the model is shortened, step by step."""
        for step in range(len(SHORTER) + 1):
            system, request = prompt(part.role).render(**_shortened(part.values, step))
            try:
                return self._models.ask(
                    spec,
                    system,
                    request + told,
                    role=part.role,
                    max_output_tokens=MAX_OUTPUT_TOKENS,
                    experiment=experiment,
                )
            except TooLong:
                if step == len(SHORTER):
                    raise
        raise AssertionError("the last step returns or raises")

    def _part(self, brief: Brief) -> Part:
        last = brief.failures[-1] if brief.failures else None
        if last and not _is_new(last):
            proposal = last.candidate.proposal
            values = {
                "operators": operators(),
                "failure": _failure(last),
                "earlier": [_failure(one) for one in brief.failures[:-1]],
                "name": proposal.name,
                "motivation": proposal.motivation,
                "source": proposal.source,
            }
            return Part("engineer", values, proposal.source)
        return Part("researcher", self._brief(brief), _source(brief.parent))

    def _brief(self, brief: Brief) -> dict[str, Any]:
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
        size = self._size
        return {
            "operators": operators(),
            "parameters": f"{size.parameters:,}",
            "layers": size.layers,
            "width": size.width,
            "heads": size.heads,
            "task": task,
            "parent": _shown(brief.parent) if brief.parent else None,
            "references": [_shown(one) for one in brief.references[:REFERENCES]],
            "lessons": [lesson.text for lesson in brief.lessons[-LESSONS:]],
            "knowledge": [_entry(one) for one in self._library.nearest(weakness, KNOWLEDGE)],
            "failures": [_failure(one) for one in brief.failures],
        }


def _is_new(record: Record) -> bool:
    """Says whether the next attempt has to be another idea, not a repair."""
    outcome = record.outcome
    return isinstance(outcome, Rejected) and outcome.check in ("novelty", "answer")


def _source(record: Record | None) -> str | None:
    return record.candidate.proposal.source if record else None


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
    told = (f"{m.task} {m.value:.3f} {m.metric}" for m in record.outcome.measurements)
    return f"Measured: {', '.join(told)}."


def _failure(record: Record) -> str:
    name, outcome = record.candidate.proposal.name, record.outcome
    if isinstance(outcome, Rejected):
        return f"{name}: refused by the check {outcome.check!r}: {outcome.evidence}"
    assert isinstance(outcome, Crashed)
    return f"{name}: crashed at {outcome.stage!r}: {outcome.error}"


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "title": entry.title,
        "year": entry.year,
        "insight": entry.insight,
        "algorithm": entry.algorithm,
    }


def _shortened(values: dict[str, Any], step: int) -> dict[str, Any]:
    """Returns the values with less of what may be left out, and `left_out`, which says of what."""
    if step == 0:
        return values | {"left_out": ""}
    keep, left_out, shorter = SHORTER[step - 1], [], dict(values)
    for name in ("references", "lessons", "knowledge", "earlier"):
        there = values.get(name, [])
        count = keep.get(name, len(there))
        if count < len(there):
            left_out.append(f"{len(there) - count} {name}")
            # Of the lessons, the newest are kept; of the others, the nearest.
            shorter[name] = there[len(there) - count :] if name == "lessons" else there[:count]
    programs = keep["reference programs"]
    if "references" in values and programs < len(shorter["references"]):
        left_out.append("programs of references")
        shorter["references"] = [
            one if place < programs else one | {"source": ""}
            for place, one in enumerate(shorter["references"])
        ]
    return shorter | {"left_out": ", ".join(left_out)}


def _again(reply: Reply, reason: str) -> str:
    """Returns what is added to the request for the second and last answer."""
    answer = reply.text if len(reply.text) < 20_000 else f"{reply.text[:20_000]}\n(and more)"
    return (
        f"\n\n# Your answer could not be used\n\n{reason}\n\nIt was:\n\n{answer}\n\n"
        "Answer once more, in the form that is asked for."
    )
