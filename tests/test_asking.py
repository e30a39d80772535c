"""Which models are asked before a run, and what comes of it."""

from pathlib import Path

import pytest

from move37.asking import Words, doubts
from move37.records import InputError
from tests.research.server import Server, Step, listed, refusal


def named(server: Server) -> str:
    return f"{server.url}#scripted"


def test_a_model_that_is_listed_is_not_doubted() -> None:
    with Server(models=listed("scripted")) as server:
        assert doubts(Words((named(server),))) == []


def test_nothing_is_generated_to_see_whether_a_model_is_there() -> None:
    with Server(models=listed("scripted")) as server:
        doubts(Words((named(server),)))
        assert (len(server.looks), server.requests) == (1, [])


@pytest.mark.parametrize("models", [listed("another"), refusal(404, "no"), refusal(503, "no")])
def test_what_may_answer_all_the_same_is_doubted(models: Step) -> None:
    with Server(models=models) as server:
        (told,) = doubts(Words((named(server),)))
    assert told.startswith(f"{named(server)}: answers ")
    assert told.endswith("; the run goes on, and asks it all the same")


def test_of_several_models_those_that_cannot_be_asked_are_named() -> None:
    with Server() as one, Server() as two:
        pass
    with Server(models=listed("scripted")) as there, pytest.raises(InputError) as raised:
        doubts(Words((named(one), named(there), named(two))))
    told = str(raised.value)
    assert (named(one) in told, named(two) in told, named(there) in told) == (True, True, False)


def test_a_price_that_is_missing_is_told_before_anybody_is_asked() -> None:
    with pytest.raises(InputError, match="needs the price of"):
        doubts(Words(("http://no.such.host.invalid/v1#m",), max_dollars=1.0))


def test_with_a_replay_nobody_is_asked() -> None:
    with Server() as server:
        assert doubts(Words((named(server),), replay=Path("tape"))) == []
        assert server.looks == []


def test_without_a_model_nobody_is_asked() -> None:
    assert doubts(Words()) == []
