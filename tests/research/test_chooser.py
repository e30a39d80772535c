"""Which model is asked next."""

from collections import Counter
from collections.abc import Sequence

import pytest

from move37.records import InputError
from move37.research.chooser import Payoff, choose
from move37.research.models import ModelSpec, parse_model

A, B = parse_model("openai:a"), parse_model("openai:b")


def shares(
    specs: Sequence[ModelSpec], history: Sequence[Payoff], role: str = "engineer"
) -> Counter[str]:
    """Says how often each is chosen in 400 attempts."""
    chosen = (choose(specs, lambda: history, role=role, dice=f"0 1 {n}") for n in range(400))
    return Counter(spec.name for spec in chosen)


def test_the_same_attempt_asks_the_same_model() -> None:
    first, again = (
        [choose([A, B], list, role="engineer", dice=f"0 {n} 0") for n in range(20)]
        for _ in range(2)
    )
    assert first == again


def test_the_order_of_the_models_does_not_matter() -> None:
    assert shares([A, B], []) == shares([B, A], [])


def test_without_history_models_are_asked_alike() -> None:
    assert 160 < shares([A, B], [])[A.name] < 240


def test_a_larger_weight_is_asked_more_often() -> None:
    heavy = parse_model("openai:b,weight=4")
    assert shares([A, heavy], [])[heavy.name] > 280


def test_what_pays_is_asked_more_often() -> None:
    history = [Payoff(A.name, 0.1, 0.0), Payoff(B.name, 0.1, 0.5)] * 20
    assert shares([A, B], history)[B.name] > 360


def test_of_two_that_gain_alike_the_cheap_one_is_asked_more_often() -> None:
    history = [Payoff(A.name, 1.0, 0.5), Payoff(B.name, 0.1, 0.5)] * 20
    assert shares([A, B], history)[B.name] > 360


def test_a_free_model_that_never_gains_fades() -> None:
    history = [Payoff(A.name, 0.1, 0.5), Payoff(B.name, 0.0, 0.0)] * 100
    assert shares([A, B], history)[A.name] > 360


def test_models_that_are_all_free_are_told_apart() -> None:
    history = [Payoff(A.name, 0.0, 0.0), Payoff(B.name, 0.0, 0.5)] * 20
    assert shares([A, B], history)[B.name] > 360


def test_a_price_that_is_not_known_counts_as_the_average() -> None:
    known = [Payoff(A.name, 0.1, 0.3), Payoff(B.name, 0.1, 0.3)] * 10
    unknown = [Payoff(A.name, 0.1, 0.3), Payoff(B.name, None, 0.3)] * 10
    assert shares([A, B], unknown) == shares([A, B], known)


def test_a_loss_counts_as_no_gain() -> None:
    assert shares([A, B], [Payoff(A.name, 0.1, -9.0)]) == shares([A, B], [Payoff(A.name, 0.1, 0.0)])


def test_one_that_is_new_is_tried() -> None:
    assert shares([A, B], [Payoff(A.name, 0.1, 0.3)] * 50)[B.name] > 40


def test_only_those_that_play_the_role_are_asked() -> None:
    judge = parse_model("openai:j,roles=judge,weight=100")
    assert set(shares([A, judge], [])) == {A.name}


def test_payoffs_are_not_asked_for_where_one_model_plays_the_role() -> None:
    judge = parse_model("openai:j,roles=judge")
    others = parse_model("openai:o,roles=engineer")
    assert choose([judge, others], pytest.fail, role="judge", dice="") == judge


def test_a_role_that_nobody_plays_is_refused() -> None:
    with pytest.raises(InputError, match="no model plays 'engineer'"):
        shares([parse_model("openai:j,roles=judge")], [])
