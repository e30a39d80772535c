"""Which models are asked before a run, and what comes of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from move37.asking import Words, doubts, forecast
from move37.doctor import of_models
from move37.knowledge.retrieval import Library
from move37.presets import SMOKE
from move37.records import Brief, Call, InputError
from move37.research.briefing import values_of
from move37.research.ledger import estimate_tokens
from move37.research.prompts import operators, prompt
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


@pytest.mark.parametrize("limit", [{"max_tokens": 16_400}, {"max_dollars": 0.0324}])
@pytest.mark.parametrize("role", ["researcher", "engineer"])
def test_a_limit_below_one_program_is_told_before_anybody_is_asked(limit: Any, role: str) -> None:
    with Server() as server, pytest.raises(InputError, match="is less than one call to"):
        doubts(Words((f"{named(server)},input=1,output=2,roles={role}",), **limit))
    assert server.looks == []


def test_a_limit_with_room_for_one_shorter_program_is_taken() -> None:
    with Server(models=listed("scripted")) as server:
        assert doubts(Words((f"{named(server)},max_output=900",), max_tokens=4_000)) == []


def test_a_model_that_writes_no_programs_needs_no_room_for_one() -> None:
    roles = ("roles=researcher+engineer,max_output=900", "roles=judge")
    with Server(models=listed("scripted")) as one, Server(models=listed("scripted")) as two:
        models = (f"{named(one)},{roles[0]}", f"{named(two)},{roles[1]}")
        assert doubts(Words(models, max_tokens=4_000)) == []


def test_what_is_told_of_the_least_that_a_call_takes_is_no_more_than_it_takes() -> None:
    brief = Brief(9, 0, "", None, (), (), ())
    values = values_of(brief, SMOKE.budgets[0].model, Library())
    least = estimate_tokens(prompt("researcher").system, operators())
    assert least < estimate_tokens(*prompt("researcher").render(**values, left_out=""))


def test_the_doctor_is_not_sure_of_a_model_that_is_not_listed() -> None:
    with Server(models=listed("scripted")) as one, Server(models=listed("another")) as two:
        found = of_models(Words((named(one), named(two))))
    assert [(each.fine, each.sure) for each in found] == [(True, True), (True, False)]


@pytest.mark.parametrize("models", [refusal(403, "no"), refusal(503, "no")])
def test_the_doctor_is_not_sure_of_a_model_that_a_run_asks_all_the_same(models: Step) -> None:
    with Server(models=models) as server:
        (found,) = of_models(Words((named(server),)))
    assert (found.fine, found.sure) == (True, False)


def test_the_doctor_is_sure_of_a_model_that_refuses_the_key() -> None:
    with Server(models=refusal(401, "no")) as server:
        (found,) = of_models(Words((named(server),)))
    assert (found.fine, found.sure) == (False, True)


def call(experiment: int, dollars: float | None) -> Call:
    return Call("researcher", "m", 900, 100, 1.0, dollars, experiment, "")


def test_what_one_answer_may_cost_is_told_before_a_run() -> None:
    words = Words(("openai:m,input=1,output=10,max_output=5000", "http://127.0.0.1/v1#m"))
    assert forecast(words, (), 3) == [
        "openai:m writes programs, in answers of at most 5,000 tokens, $0.0500.",
        "http://127.0.0.1/v1#m writes programs, in answers of at most 16,000 tokens.",
    ]


def test_what_a_proposal_took_until_now_is_told_for_those_to_come() -> None:
    calls = [call(7, 0.5), call(7, 0.25), call(8, 0.25)]
    assert forecast(Words(("openai:m,input=1,output=10",)), calls, 4)[1:] == [
        "Until now a proposal took 1,500 tokens in the mean, $0.5000: "
        "for 4 more about 6,000 tokens, $2.0000."
    ]


def test_a_forecast_from_calls_without_a_price_has_none() -> None:
    calls = [call(7, 0.5), call(8, None)]
    assert forecast(Words(("openai:m,input=1,output=10",)), calls, 1)[1:] == [
        "Until now a proposal took 1,000 tokens in the mean, price unknown: "
        "for 1 more about 1,000 tokens, price unknown."
    ]


def test_a_model_on_this_machine_has_no_price_in_a_forecast() -> None:
    assert forecast(Words(("http://127.0.0.1/v1#m",)), [call(7, 0.0)], 2)[1:] == [
        "Until now a proposal took 1,000 tokens in the mean: for 2 more about 2,000 tokens."
    ]


def test_a_forecast_says_where_the_worst_case_was_counted() -> None:
    calls = [replace(call(7, 0.5), is_worst_case=True)]
    (told,) = forecast(Words(("openai:m,input=1,output=10",)), calls, 2)[1:]
    assert told.startswith("Until now a proposal took <= 1,000 tokens in the mean, $0.5000: ")


def test_a_model_that_mends_programs_is_in_the_forecast() -> None:
    (told,) = forecast(Words(("http://127.0.0.1/v1#m,roles=engineer",)), (), 3)
    assert told.startswith("http://127.0.0.1/v1#m writes programs, ")


def test_where_no_proposals_are_due_there_is_no_forecast() -> None:
    assert forecast(Words(("openai:m",)), [call(7, 0.5)], 0) == []


def test_a_replay_has_no_forecast() -> None:
    assert forecast(Words(("openai:m",), replay=Path("tape")), [call(7, 0.5)], 1) == []


def test_with_a_replay_nobody_is_asked() -> None:
    with Server() as server:
        assert doubts(Words((named(server),), replay=Path("tape"))) == []
        assert server.looks == []


def test_without_a_model_nobody_is_asked() -> None:
    assert doubts(Words()) == []
