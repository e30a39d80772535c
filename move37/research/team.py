"""A team of language models: one invents, one repairs, others are asked for their opinion.

    brief without failures           researcher   motivation and program, from parent, references,
                                                  lessons, knowledge
    a program was refused, crashed   engineer     the same idea, mended, from the evidence
    an answer could not be used      the same     once more, with the reason; then it is recorded

    more lessons than fit            summariser      six lines on what bears on the brief
    a new program                    novelty_judge   was the idea tried in another program?
    an experiment has ended          analyst         why, beside the numbers, which are computed
    it was measured                  judge           grades of taste, kept beside it

What a model says is read, never believed: `answers` takes the program out of it, novelty, lab and
analyst judge it as they judge any other. The four others are asked where a model plays them; where
no answer can be had, what is computed stands.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from move37.knowledge.retrieval import Embedder, Library, StaticEmbedder
from move37.records import (
    Brief,
    InputError,
    Judgement,
    Lesson,
    ModelSize,
    Proposal,
    Record,
    Rejected,
)
from move37.research import judge, lessons, novelty_judge
from move37.research.analyst import analyse
from move37.research.answers import Unusable, read_answer
from move37.research.briefing import proposal_of, values_of
from move37.research.chooser import Payoff
from move37.research.models import LanguageModels, ModelSpec, Reply, TooLong
from move37.research.prompts import operators, prompt
from move37.research.researcher import NoProposal
from move37.research.roles import Asker, Forgotten, Notes, again
from move37.research.showing import failure

MAX_OUTPUT_TOKENS = 16_000
# What is left out of a brief that is too long, from the first step on: how many of each are kept.
SHORTER = (
    {"knowledge": 2, "reference programs": 2},
    {"knowledge": 1, "reference programs": 0, "lessons": 4},
    {"knowledge": 0, "reference programs": 0, "lessons": 2, "references": 2},
    {"knowledge": 0, "reference programs": 0, "lessons": 0, "references": 0},
)


class Part(NamedTuple):
    """What one role is given: the values of its prompt, and what may be left out."""

    role: str
    values: dict[str, Any]
    source: str | None  # that edits refer to


class Team:
    """Answers a brief with a program that language models wrote, and advises the loop."""

    def __init__(
        self,
        models: LanguageModels,
        specs: Sequence[ModelSpec],
        size: ModelSize,
        *,
        library: Library | None = None,
        embedder: Embedder | None = None,
        payoffs: Callable[[], Sequence[Payoff]] = lambda: (),
        notes: Notes | None = None,
    ) -> None:
        """`payoffs` says what each model cost and brought so far; a chooser learns from it.

        `notes` gets the judgements, and the answers that were of no use.
        """
        for role in ("researcher", "engineer"):
            if not any(spec.plays(role) for spec in specs):
                raise InputError(f"no model plays {role!r}: name it in the roles of one")
        self._models, self._size = models, size
        embedder = embedder or StaticEmbedder()
        self._ideas = novelty_judge.Ideas(embedder)
        self._library = library or Library(embedder)
        self._asker = Asker(models, specs, payoffs, notes or Forgotten())

    def propose(self, brief: Brief) -> Proposal:
        """Returns a program; raises NoProposal if two answers held none that can be examined.

        Raises RunFailed if the models cannot be asked.
        """
        part = self._part(brief)
        spec = self._asker.choose(part.role, brief.dice)
        told = ""
        for _ in range(2):
            reply = self._ask(spec, part, brief.experiment, told)
            try:
                answer = read_answer(reply.text, parent=part.source, finished=reply.finished)
            except Unusable as error:
                told = again(reply, str(error))
                reason = str(error)
                continue
            return proposal_of(answer, spec.name, prompt(part.role).version)
        unread = Proposal("Unread", f"An answer of {spec.name}.", reply.text, spec.name)
        raise NoProposal(unread, Rejected("answer", reason))

    def known(
        self,
        brief: Brief,
        proposal: Proposal,
        tried: Sequence[tuple[int, Proposal]],
        history: Sequence[Record] = (),
    ) -> Rejected | None:
        """Refuses an idea that was tried in another program; a repair keeps its idea."""
        repaired = brief.failures and not _is_new(brief.failures[-1])
        if repaired or not self._asker.plays(novelty_judge.ROLE):
            return None
        return novelty_judge.known_idea(self._asker, brief, proposal, tried, self._ideas, history)

    def analyse(self, experiment: Sequence[Record], history: Sequence[Record]) -> Lesson:
        """Returns the computed lesson, with what a model adds to it."""
        if not self._asker.plays(lessons.ANALYST):
            return analyse(experiment, history)
        return lessons.analysed(self._asker, experiment, history)

    def judge(self, experiment: Sequence[Record], history: Sequence[Record]) -> Judgement | None:
        """Returns the judgement of an experiment that was measured, and keeps it."""
        if not self._asker.plays(judge.ROLE):
            return None
        return judge.judge(self._asker, experiment, history)

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
                "failure": failure(last),
                "earlier": [failure(one) for one in brief.failures[:-1]],
                "name": proposal.name,
                "motivation": proposal.motivation,
                "source": proposal.source,
            }
            return Part("engineer", values, proposal.source)
        given = values_of(brief, self._size, self._library)
        if self._asker.plays(lessons.SUMMARISER):
            shorter = lessons.digest(self._asker, brief, given["task"], given["lessons"])
            given |= {"lessons": shorter}
        return Part("researcher", given, _source(brief.parent))


def _is_new(record: Record) -> bool:
    """Says whether the next attempt has to be another idea, not a repair."""
    outcome = record.outcome
    return isinstance(outcome, Rejected) and outcome.check in ("novelty", "answer")


def _source(record: Record | None) -> str | None:
    return record.candidate.proposal.source if record else None


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
