"""From the words of the command line to a team of language models that works on a store."""

import contextlib
import os
import random
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from move37.history import History
from move37.presets import Preset
from move37.records import Call, InputError
from move37.research import judge, roles
from move37.research.cassette import Player, Recorder
from move37.research.chooser import Payoff
from move37.research.client import Client, reachable
from move37.research.ledger import (
    Ledger,
    estimate_tokens,
    sum_dollars,
    told_dollars,
    worst_price,
)
from move37.research.models import (
    ROLES,
    Access,
    Asking,
    LanguageModels,
    ModelSpec,
    distinct,
    parse_model,
    read_models,
)
from move37.research.prompts import operators, prompt
from move37.research.team import MAX_OUTPUT_TOKENS, Team
from move37.search.board import Board
from move37.search.fitness import Unscaled
from move37.store.store import Store

PROPOSE = ("researcher", "engineer")  # the roles that write programs


@dataclass(frozen=True)
class Words:
    """What the user said about language models."""

    models: Sequence[str] = ()  # as `parse_model` reads them
    file: Path | None = None  # TOML, as `read_models` reads it
    secrets: Path | None = None
    max_dollars: float | None = None
    max_tokens: int | None = None
    record: Path | None = None
    replay: Path | None = None
    judge_share: float = 0.0  # of the judgement in the fitness

    @property
    def arguments(self) -> str:
        """Returns the same as the command line takes it: what goes on needs them again."""
        said: list[tuple[str, object]] = [("model", one) for one in self.models]
        said += [("models", self.file), ("secrets", self.secrets), ("record", self.record)]
        said += [("max-dollars", self.max_dollars), ("max-tokens", self.max_tokens)]
        said += [("replay", self.replay), ("judge-share", self.judge_share or None)]
        told = (f" --{name} {shlex.quote(str(word))}" for name, word in said if word is not None)
        return "".join(told)

    def specs(self) -> tuple[ModelSpec, ...]:
        """Returns the models that are named; raises InputError."""
        listed = read_models(self.file) if self.file else ()
        specs = distinct([*listed, *(parse_model(text) for text in self.models)])
        if self.record and self.replay:
            raise InputError("expected --record or --replay, got both: leave one out")
        if not 0 <= self.judge_share <= 1:
            raise InputError(f"expected --judge-share from 0 to 1, got {self.judge_share:g}")
        if self.judge_share and not any(spec.plays(judge.ROLE) for spec in specs):
            raise InputError(
                f"--judge-share {self.judge_share:g} needs a model that plays the role "
                f"{judge.ROLE!r}: name one with --model"
            )
        others = (self.secrets, self.max_dollars, self.max_tokens, self.record, self.replay)
        if not specs and any(one is not None for one in others):
            raise InputError("expected --model NAME beside the options of language models")
        return specs


def doubts(words: Words) -> list[str]:
    """Asks each model that the words name whether it can be reached; returns what is not sure.

    No tokens are used. With --replay nobody is asked, but the cassette is read. Raises InputError
    for words that cannot be used, and for a model that certainly cannot be asked.
    """
    specs = words.specs()
    if words.replay:
        Player(words.replay).check(specs)
    if not specs or words.replay:
        return []
    access = Access.read(specs, os.environ, words.secrets)
    ledger = Ledger(max_dollars=words.max_dollars, max_tokens=words.max_tokens)
    for spec in specs:
        access.key(spec)
        ledger.check(spec)
        for role in filter(spec.plays, PROPOSE):
            # The rest of the prompt is longer or shorter, with what is known by then.
            least = estimate_tokens(prompt(role).system, operators())
            ledger.check_room(spec, least, spec.capped(MAX_OUTPUT_TOKENS))
    found = reachable(specs, access)
    if lost := [f"{one.model}: {one.told}" for one in found if one.lost]:
        raise InputError("; ".join(lost))
    return [
        f"{one.model}: {one.told}; the run goes on, and asks it all the same"
        for one in found
        if not (one.fine and one.listed)
    ]


def forecast(words: Words, calls: Sequence[Call], proposals: int, *, done: int) -> list[str]:
    """Returns in lines what so many proposals may cost: one answer at most, and all of them at the
    rate of the store's calls until now.

    Experiments from `done` on have not ended: what they took is no measure of a proposal.
    """
    specs = words.specs()
    if not specs or words.replay or proposals < 1:
        return []
    told = [_asked_for(spec, limited=words.max_dollars is not None) for spec in specs]
    spent = [call for call in calls if call.experiment is not None and call.experiment < done]
    if spent:
        asked = len({call.experiment for call in spent})
        bound = "at most " if any(call.is_worst_case for call in spent) else ""
        tokens = sum(call.input_tokens + call.output_tokens for call in spent) / asked
        dollars = sum_dollars(spent)
        each = None if dollars is None else dollars / asked
        more = None if each is None else each * proposals
        told.append(
            f"Until now a proposal took {bound}{tokens:,.0f} tokens in the mean{_priced(each)}: "
            f"for {proposals:,} more about {tokens * proposals:,.0f} tokens{_priced(more)}."
        )
    return told


def _asked_for(spec: ModelSpec, *, limited: bool) -> str:
    """Tells what a model is asked for, and what one answer may cost."""
    writes = any(map(spec.plays, PROPOSE))
    advises = any(spec.plays(role) for role in ROLES if role not in PROPOSE)
    what = " and ".join(["programs"] * writes + ["opinions"] * advises)
    most = spec.capped(MAX_OUTPUT_TOKENS if writes else roles.MAX_OUTPUT_TOKENS)
    dollars = worst_price(spec, 0, most)
    cost = ", which count as free" if limited and dollars == 0 else _priced(dollars)
    return f"{spec.name} for {what}, in answers of at most {most:,} tokens{cost}."


def _priced(dollars: float | None) -> str:
    return "" if dollars == 0 else f", {told_dollars(dollars)}"


@contextlib.contextmanager
def team(
    words: Words,
    preset: Preset,
    store: Store,
    history: History,
    *,
    seed: int,
    tell: Callable[[Asking], object] = lambda asking: None,
) -> Iterator[Team | None]:
    """Gives the team that the words name, None if they name no model; raises InputError.

    `history` is what the store holds, and grows with it. `tell` is told what goes on with each
    request, by several threads.
    """
    specs = words.specs()
    if not specs:
        yield None
        return
    # Of these a model may have been asked by now: see `Selection.lag`.
    started = max((one.experiment for one in history), default=-1) + 1 + preset.selection.lag
    with _models(words, specs, store, seed, started, tell) as models:
        size = preset.budgets[0].model
        yield Team(models, specs, size, payoffs=Payoffs(store, history), notes=store)


@contextlib.contextmanager
def _models(
    words: Words,
    specs: Sequence[ModelSpec],
    store: Store,
    seed: int,
    started: int,
    tell: Callable[[Asking], object],
) -> Iterator[LanguageModels]:
    if words.replay:
        yield Player(words.replay)
        return
    access = Access.read(specs, os.environ, words.secrets)
    ledger = Ledger(
        max_dollars=words.max_dollars,
        max_tokens=words.max_tokens,
        earlier=store.calls(),
        keep=store.append_call,
    )
    with Client(access, ledger, dice=random.Random(seed), tell=tell) as client:
        if not words.record:
            yield client
            return
        with Recorder(client, words.record, access.scrub, started) as recorder:
            yield recorder


class Payoffs:
    """What the proposals of a model cost, and brought: the share that an experiment leaves behind.

    That goes to the model whose program was measured; another that proposed in the same experiment
    has its costs alone, as all have where nothing was measured. Opinions are not counted: they
    bring nothing of their own, and whom they cost is not who proposed.
    """

    def __init__(self, store: Store, history: History) -> None:
        """`history` is what the store holds, and grows with it."""
        self._store, self._history = store, history
        self._calls, self._spent = 0, dict[tuple[int, str], float | None]()
        self._lock = threading.Lock()

    def __call__(self) -> list[Payoff]:
        """Returns the payoffs of all experiments for which models were asked."""
        with self._lock:
            new = self._store.calls(after=self._calls)
            self._calls += len(new)
            for call in new:
                if call.experiment is not None and call.role in PROPOSE:
                    asked = call.experiment, call.model
                    spent = self._spent.get(asked, 0.0)
                    if spent is not None:  # one price that is not known, and the sum is not
                        spent = None if call.dollars is None else spent + call.dollars
                    self._spent[asked] = spent
            due = sorted(self._spent.items(), key=lambda item: item[0])
        board = Board(self._history)
        try:
            fittest = board.fittest(len(self._history), "noise")
        except Unscaled:
            fittest = []
        places = {board.result(one).experiment: place for place, one in enumerate(fittest)}
        payoffs = []
        for (experiment, model), dollars in due:
            records = self._history.experiment(experiment)
            if records:
                mine = experiment in places and records[-1].candidate.proposal.origin == model
                gain = 1 - places[experiment] / len(fittest) if mine else 0.0
                payoffs.append(Payoff(model, dollars, gain))
        return payoffs
