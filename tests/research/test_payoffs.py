"""What the choice between models learns from: the costs of proposals, and what they brought."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from move37.asking import Payoffs
from move37.history import History
from move37.records import Call, Record
from move37.research.chooser import Payoff
from move37.store.store import Store
from tests.search.builders import baselines, record

BEST = record("Best", experiment=3, origin="a", loss_gain=0.2, benchmark_gain=0.2)


def call(model: str, dollars: float | None, *, role: str = "researcher") -> Call:
    return Call(role, model, 20, 10, 1.0, dollars, 3, "")


def payoffs(path: Path, calls: Sequence[Call], last: Record = BEST) -> list[Payoff]:
    with Store.open(path / "store.sqlite", create=True) as store:
        for one in calls:
            store.append_call(one)
        return Payoffs(store, History([*baselines(), last]))()


def test_an_experiment_pays_the_model_that_wrote_its_program(tmp_path: Path) -> None:
    (paid,) = payoffs(tmp_path, [call("a", 0.25), call("a", 0.5)])
    assert (paid.model, paid.dollars) == ("a", 0.75)
    assert paid.gain > 0


def test_a_price_that_is_not_known_is_not_taken_as_none(tmp_path: Path) -> None:
    (paid,) = payoffs(tmp_path, [call("a", None), call("a", 0.5)])
    assert paid.dollars is None


def test_each_model_pays_for_its_own_proposals(tmp_path: Path) -> None:
    first, second = payoffs(tmp_path, [call("b", 0.5), call("a", 0.25, role="engineer")])
    assert (first.model, first.dollars, first.gain > 0) == ("a", 0.25, True)
    assert second == Payoff("b", 0.5, 0.0)


def test_an_opinion_costs_no_proposer_anything(tmp_path: Path) -> None:
    (paid,) = payoffs(tmp_path, [call("a", 0.25), call("b", 9.0, role="judge")])
    assert (paid.model, paid.dollars) == ("a", 0.25)


def test_an_experiment_that_is_under_way_has_no_payoff_yet(tmp_path: Path) -> None:
    assert payoffs(tmp_path, [replace(call("a", 0.25), experiment=4)]) == []
