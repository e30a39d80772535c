"""The offline researcher: composes published ideas into programs. No model, no key, no network.

It reads what a model would read (parent, references, lessons, knowledge) and answers in the same
form. Cold, it joins the ideas of two or three papers; with a parent, it looks up the weakness that
the parent's lesson names and follows a paper, or crosses the parent with a reference, or changes
one part at random. What was refused it repairs by rule, from the evidence.
"""

import random
from collections.abc import Mapping

from move37.knowledge.retrieval import Entry, Library, entries
from move37.records import Brief, Proposal, Record, Rejected
from move37.research.program import GENES, components, name_of, parse, write_program

Genome = dict[str, str]

ORIGIN = "composer"
# How often each way is taken, once there is a parent.
WAYS = {"paper": 0.55, "cross": 0.25, "chance": 0.20}

# check or crash -> which part to change, first that applies: (gene, from, to)
REPAIRS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "finite": (
        ("keys", "free", "unit"),
        ("features", "squared-relu", "silu"),
        ("decay", "none", "scalar"),
        ("norm", "none", "head"),
    ),
    "fits": (
        ("values", "double", "single"),
        ("gate", "output", "none"),
        ("second", "slow", "none"),
        ("decay", "channel", "scalar"),
    ),
    "trainable": (("keys", "free", "unit"), ("norm", "none", "head"), ("decay", "none", "scalar")),
}


class Composer:
    """Answers a brief with a program that it composes; the same brief gets the same answer."""

    def __init__(self, library: Library | None = None) -> None:
        self._library = library or Library()

    def propose(self, brief: Brief) -> Proposal:
        """Returns a motivated program."""
        rng = random.Random(brief.dice)
        if brief.failures:
            return self._again(brief, rng)
        if brief.parent is None:
            return self._afresh(rng)
        way = rng.choices(list(WAYS), list(WAYS.values()))[0]
        if way == "paper":
            return self._by_paper(brief, brief.parent, rng)
        if way == "cross" and brief.references:
            return self._crossed(brief.parent, rng.choice(brief.references), rng)
        return self._by_chance(brief.parent, rng)

    def _afresh(self, rng: random.Random) -> Proposal:
        useful = [entry for entry in entries() if entry.components]
        chosen = rng.sample(useful, rng.choice((2, 3)))
        genome: Genome = {}
        for entry in chosen:
            for gene, value in _words(entry):
                genome.setdefault(gene, value)
        genome.setdefault("keys", rng.choice(("unit", "unit", "free")))
        genome = parse(components(genome))
        # Only what is still there after the parts were fitted together is claimed.
        parts = {entry.id: [w for w in _words(entry) if genome[w[0]] == w[1]] for entry in chosen}
        kept = [entry for entry in chosen if parts[entry.id]]
        told = "; ".join(
            f"{entry.title} ({_cite(entry)}) gives {_listed(parts[entry.id])}" for entry in kept
        )
        motivation = f"Joins parts of {len(kept)} papers. {told}. {kept[0].insight}"
        return _proposal(genome, motivation, kept)

    def _by_paper(self, brief: Brief, parent: Record, rng: random.Random) -> Proposal:
        weakness = next(
            (
                one.weakness
                for one in reversed(brief.lessons)
                if one.candidate == parent.candidate.id
            ),
            brief.lessons[-1].weakness if brief.lessons else "recall of key-value pairs is weak",
        )
        genome = _genome(parent)
        near = self._library.nearest(weakness, 8)
        # A paper bears on the parent if its main idea, named first, is not there yet.
        leading = [(entry, _words(entry)[0]) for entry in near if entry.components]
        fresh = [entry for entry, (gene, value) in leading if genome[gene] != value]
        if not fresh:
            return self._by_chance(parent, rng)
        # The nearest is the likeliest, the eighth still possible.
        entry = rng.choices(fresh, [0.7**place for place in range(len(fresh))])[0]
        changes = [(g, v) for g, v in _words(entry) if genome[g] != v]
        changes = changes[: rng.choice((1, 2, len(changes)))]
        child = genome | dict(changes)
        motivation = (
            f"The parent {parent.candidate.proposal.name} is weak in one point: {weakness}. "
            f"{entry.title} ({_cite(entry)}) bears on it: {entry.insight} "
            f"Hence {_changes(genome, child)}."
        )
        return _proposal(child, motivation, [entry])

    def _crossed(self, parent: Record, other: Record, rng: random.Random) -> Proposal:
        mine, theirs = _genome(parent), _genome(other)
        differing = [gene for gene in GENES if mine[gene] != theirs[gene]]
        if not differing:
            return self._by_chance(parent, rng)
        taken = rng.sample(differing, max(1, len(differing) // 2))
        child = mine | {gene: theirs[gene] for gene in taken}
        motivation = (
            f"{parent.candidate.proposal.name} and {other.candidate.proposal.name} are both among "
            f"the fittest and differ in {len(differing)} parts. This child keeps the first and "
            f"takes from the second: {_changes(mine, child)}."
        )
        return _proposal(child, motivation, [])

    def _by_chance(self, parent: Record, rng: random.Random, parts: int = 1) -> Proposal:
        genome = _genome(parent)
        child = _mutated(genome, rng, parts)
        motivation = (
            f"No paper asks for it, but nothing measured speaks against it: from the parent "
            f"{parent.candidate.proposal.name}, {_changes(genome, child)}."
        )
        return _proposal(child, motivation, [])

    def _again(self, brief: Brief, rng: random.Random) -> Proposal:
        """Repairs what was refused: by rule where the evidence names a cause, else by chance."""
        last = brief.failures[-1]
        refused = last.candidate.proposal
        genome = parse(refused.components)
        check = last.outcome.check if isinstance(last.outcome, Rejected) else "crash"
        child = genome
        for gene, old, new in REPAIRS.get(check, ()):
            if genome[gene] == old:
                child = genome | {gene: new}
                break
        if components(child) == components(genome):
            child = _mutated(genome, rng, parts=1 + brief.attempt)
        told = {"novelty": "was known already", "crash": "crashed"}
        reason = told.get(check, f"was refused by the check {check!r}")
        motivation = (
            f"{refused.motivation} That program {reason}: attempt {brief.attempt + 1} has "
            f"{_changes(genome, child)}."
        )
        known = [entry for entry in entries() if entry.id in refused.knowledge]
        return _proposal(child, motivation, known)


def _proposal(genome: Genome, motivation: str, drawn: list[Entry]) -> Proposal:
    return Proposal(
        name=name_of(genome),
        motivation=motivation,
        source=write_program(genome, motivation),
        origin=ORIGIN,
        components=components(genome),
        knowledge=tuple(entry.id for entry in drawn),
    )


def _genome(record: Record) -> Genome:
    return parse(record.candidate.proposal.components)


def _words(entry: Entry) -> list[tuple[str, str]]:
    return [(gene, value) for gene, value in (word.split(":", 1) for word in entry.components)]


def _mutated(genome: Genome, rng: random.Random, parts: int) -> Genome:
    """Changes `parts` genes, and again until the program does change."""
    child = genome
    while components(child) == components(genome):
        child = dict(genome)
        for gene in rng.sample(list(GENES), parts):
            child[gene] = rng.choice([value for value in GENES[gene] if value != genome[gene]])
    return child


def _changes(old: Genome, new: Genome) -> str:
    """Tells the difference of two genomes in words."""
    before, after = parse(components(old)), parse(components(new))
    told = [
        f"{GENES[gene][after[gene]]} instead of {GENES[gene][before[gene]]}"
        for gene in GENES
        if before[gene] != after[gene]
    ]
    return ", and ".join(told) if told else "nothing changes"


def _listed(words: list[tuple[str, str]]) -> str:
    return " and ".join(GENES[gene][value] for gene, value in words)


def _cite(entry: Entry) -> str:
    return f"{entry.authors} {entry.year}, arXiv:{entry.arxiv}"
