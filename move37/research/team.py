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

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from move37.knowledge.retrieval import Embedder, Library, StaticEmbedder
from move37.records import (
    Brief,
    Fallback,
    InputError,
    Judgement,
    Lesson,
    ModelSize,
    Proposal,
    Record,
    Rejected,
)
from move37.research import judge, lessons, novelty_judge, shortening
from move37.research.analyst import analyse
from move37.research.answers import Unusable, read_answer
from move37.research.briefing import proposal_of, values_of
from move37.research.chooser import Payoff
from move37.research.models import LanguageModels, ModelSpec
from move37.research.prompts import operators, prompt
from move37.research.researcher import NoProposal
from move37.research.roles import Asker, Forgotten, Notes, again
from move37.research.showing import failure

MAX_OUTPUT_TOKENS = 16_000


class Part(NamedTuple):
    """What one role is given."""

    role: str
    values: dict[str, Any]  # of its prompt
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
            reply = shortening.ask(
                self._models,
                spec,
                part.role,
                part.values,
                told,
                max_output_tokens=MAX_OUTPUT_TOKENS,
                experiment=brief.experiment,
            )
            try:
                answer = read_answer(reply.text, parent=part.source, finished=reply.finished)
            except Unusable as error:
                told = again(reply, str(error))
                reason = str(error)
                continue
            proposal = proposal_of(answer, spec.name, prompt(part.role).version)
            repaired = _to_repair(brief.failures)
            return (
                proposal if repaired is None else _of_the_same_idea(proposal, repaired, reply.text)
            )
        unread = Proposal("Unread", f"An answer of {spec.name}.", reply.text, spec.name)
        raise NoProposal(unread, Rejected("answer", reason))

    def known(
        self,
        brief: Brief,
        proposal: Proposal,
        tried: Sequence[tuple[int, Proposal]],
        history: Sequence[Record] = (),
    ) -> Rejected | None:
        """Refuses an idea that was tried in another program; a repair may keep its own."""
        repaired = _to_repair(brief.failures)
        keeps = repaired and repaired.candidate.proposal.motivation == proposal.motivation
        if keeps or not self._asker.plays(novelty_judge.ROLE):
            return None
        return novelty_judge.known_idea(self._asker, brief, proposal, tried, self._ideas, history)

    def analyse(self, experiment: Sequence[Record], history: Sequence[Record]) -> Lesson:
        """Returns the computed lesson, with what a model adds to it."""
        if not self._asker.plays(lessons.ANALYST):
            return analyse(experiment, history)
        return lessons.analysed(self._asker, experiment, history)

    def judge(self, experiment: Sequence[Record], history: Sequence[Record]) -> Judgement | None:
        """Returns the judgement of an experiment that was measured, and keeps it.

        None if it was asked about before: no judgement is asked for twice.
        """
        number = experiment[0].experiment
        if not self._asker.plays(judge.ROLE) or number in self._asked_about:
            return None
        self._asked_about.add(number)
        return judge.judge(self._asker, experiment, history)

    @functools.cached_property
    def _asked_about(self) -> set[int]:
        """The experiments that the judge was asked about, with or without a usable answer."""
        notes = self._asker.notes
        useless = {one.experiment for one in notes.fallbacks() if one.role == judge.ROLE}
        return useless | {one.experiment for one in notes.judgements()}

    def _part(self, brief: Brief) -> Part:
        last = _to_repair(brief.failures)
        if last is not None:
            proposal = last.candidate.proposal
            values = {
                "operators": operators(),
                "failure": failure(last),
                "earlier": [failure(one) for one in brief.failures if one is not last],
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


def unread(records: Iterable[Record]) -> list[Fallback]:
    """Returns the attempts of a run in which two answers held no program, in order.

    Such an attempt is a record; the other roles have fallbacks of their own.
    """
    found: list[Fallback] = []
    failures: list[Record] = []
    for record in records:
        failures = [] if record.step == 0 else failures
        outcome, origin = record.outcome, record.candidate.proposal.origin
        if isinstance(outcome, Rejected) and outcome.check == "answer":
            role = "engineer" if _to_repair(failures) else "researcher"
            found.append(Fallback(role, origin, record.experiment, outcome.evidence))
        failures.append(record)
    return found


def _to_repair(failures: Sequence[Record]) -> Record | None:
    """Returns the attempt whose program is mended next; None if another idea is due.

    An answer that could not be read is no program, and says nothing about the one before it.
    """
    read = [one for one in failures if _refused_by(one) != "answer"]
    return read[-1] if read and _refused_by(read[-1]) != "novelty" else None


def _refused_by(record: Record) -> str:
    outcome = record.outcome
    return outcome.check if isinstance(outcome, Rejected) else ""


# What an answer calls its motivation; other prose is about the repair.
_SAYS_WHY = re.compile(r"""(?im)^[\s*_#>"'-]*motivation\b""")


def _of_the_same_idea(proposal: Proposal, repaired: Record, text: str) -> Proposal:
    """Returns a repair with the motivation and the sources of what it mends, but for new ones."""
    old = repaired.candidate.proposal
    return replace(
        proposal,
        motivation=proposal.motivation if _SAYS_WHY.search(text) else old.motivation,
        knowledge=proposal.knowledge or old.knowledge,
    )


def _source(record: Record | None) -> str | None:
    return record.candidate.proposal.source if record else None
