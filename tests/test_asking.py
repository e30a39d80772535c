"""Which models are asked before a run, and what comes of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from move37.asking import Words, doubts, forecast
from move37.doctor import of_models
from move37.knowledge.retrieval import Library
from move37.presets import SMOKE
from move37.records import Brief, Call, InputError, to_json
from move37.research.briefing import values_of
from move37.research.cassette import Choice
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
    assert forecast(words, (), 3, done=5) == [
        "openai:m for programs and opinions, in answers of at most 5,000 tokens, $0.0500.",
        "http://127.0.0.1/v1#m for programs and opinions, in answers of at most 16,000 tokens.",
    ]


def test_what_a_proposal_took_until_now_is_told_for_those_to_come() -> None:
    calls = [call(7, 0.5), call(7, 0.25), call(8, 0.25)]
    assert forecast(Words(("openai:m,input=1,output=10",)), calls, 4, done=9)[1:] == [
        "Until now a proposal took 1,500 tokens in the mean, $0.5000: "
        "for 4 more about 6,000 tokens, $2.0000."
    ]


def test_a_forecast_from_calls_without_a_price_has_none() -> None:
    calls = [call(7, 0.5), call(8, None)]
    assert forecast(Words(("openai:m,input=1,output=10",)), calls, 1, done=9)[1:] == [
        "Until now a proposal took 1,000 tokens in the mean, price unknown: "
        "for 1 more about 1,000 tokens, price unknown."
    ]


def test_a_model_on_this_machine_has_no_price_in_a_forecast() -> None:
    assert forecast(Words(("http://127.0.0.1/v1#m",)), [call(7, 0.0)], 2, done=9)[1:] == [
        "Until now a proposal took 1,000 tokens in the mean: for 2 more about 2,000 tokens."
    ]


def test_a_forecast_says_where_the_worst_case_was_counted() -> None:
    calls = [replace(call(7, 0.5), is_worst_case=True)]
    (told,) = forecast(Words(("openai:m,input=1,output=10",)), calls, 2, done=9)[1:]
    assert told.startswith("Until now a proposal took at most 1,000 tokens in the mean, $0.5000: ")


@pytest.mark.parametrize(
    ("roles", "told"),
    [
        ("engineer", "programs, in answers of at most 16,000"),
        ("judge", "opinions, in answers of at most 8,000"),
    ],
)
def test_the_forecast_says_what_each_model_is_asked_for(roles: str, told: str) -> None:
    lines = forecast(Words((f"http://127.0.0.1/v1#m,roles={roles}",)), (), 3, done=5)
    assert lines == [f"http://127.0.0.1/v1#m for {told} tokens."]


def test_a_limit_of_dollars_that_counts_nothing_is_told() -> None:
    (told,) = forecast(Words(("http://127.0.0.1/v1#m",), max_dollars=1.0), (), 3, done=5)
    assert told.endswith("tokens, which count as free.")


def test_an_experiment_that_did_not_end_is_no_measure_of_a_proposal() -> None:
    words = Words(("http://127.0.0.1/v1#m",))
    calls = [call(7, 0.0), call(7, 0.0), call(8, 0.0)]
    assert forecast(words, calls, 2, done=8)[1:] == [
        "Until now a proposal took 2,000 tokens in the mean: for 2 more about 4,000 tokens."
    ]
    assert forecast(words, calls, 3, done=7)[1:] == []


def test_where_no_proposals_are_due_there_is_no_forecast() -> None:
    assert forecast(Words(("openai:m",)), [call(7, 0.5)], 0, done=9) == []


def test_a_replay_has_no_forecast() -> None:
    assert forecast(Words(("openai:m",), replay=Path("tape")), [call(7, 0.5)], 1, done=9) == []


def test_with_a_replay_nobody_is_asked(tmp_path: Path) -> None:
    (tmp_path / "tape").touch()
    with Server() as server:
        assert doubts(Words((named(server),), replay=tmp_path / "tape")) == []
        assert server.looks == []


def test_a_cassette_of_another_model_is_told_before_a_run(tmp_path: Path) -> None:
    choice = Choice("researcher", "0/7/0", "openai:other", 0)
    (tmp_path / "tape").write_text(to_json(choice) + "\n")
    with pytest.raises(InputError, match="expected openai:other among the models that play"):
        doubts(Words(("openai:m",), replay=tmp_path / "tape"))


def test_without_a_model_nobody_is_asked() -> None:
    assert doubts(Words()) == []
