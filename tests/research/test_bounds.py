"""No number of a provider, however absurd, ends a run or is booked."""

import json
from typing import Any

import pytest

from move37.records import Call, InputError
from move37.research.bounds import bounded_json
from move37.research.client import reachable
from move37.research.ledger import Ledger, costs
from move37.research.models import ModelSpec, ProviderFailed, TooLong, parse_model
from tests.research.server import Server, Step, answer, listed, refusal
from tests.research.test_client import WORST, Talk

DIGITS = "9" * 5_000
ABSURD = {
    "negative": "-5",
    "a fraction": "20.5",
    "a float": "20.0",
    "a large float": "1e300",
    "beyond every float": "1e400",
    "not a number": "NaN",
    "infinite": "Infinity",
    "true": "true",
    "a text": '"20"',
    "a list": "[20]",
    "an object": "{}",
    "more than can be": "99999999",
    "400 digits": "9" * 400,
    "5,000 digits": DIGITS,
    "5,000 digits below 0": f"-{DIGITS}",
}


def chat(number: str, *path: str | int) -> Step:
    """Answers a chat completion with the number, as it is written, at this place."""
    data = json.loads(answer("hi", (20, 10)).body)
    at: Any = data
    for key in path[:-1]:
        at = at.setdefault(key, {}) if isinstance(at, dict) else at[key]
    at[path[-1]] = "THE NUMBER"
    return Step(json.dumps(data).replace('"THE NUMBER"', number))


def anthropic(number: str) -> Step:
    text = '{"id": "1", "type": "message", "role": "assistant", "model": "c", "content": '
    text += '[{"type": "text", "text": "hi"}], "stop_reason": "end_turn", "usage": '
    return Step(f'{text}{{"input_tokens": 20, "output_tokens": {number}}}}}')


def google(number: str) -> Step:
    text = '{"candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "index": 0, '
    text += '"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 20, '
    return Step(f'{text}"candidatesTokenCount": {number}}}}}')


# ---------------------------------------------------------------- usage


@pytest.mark.parametrize("number", ABSURD.values(), ids=ABSURD)
@pytest.mark.parametrize("key", ["prompt_tokens", "completion_tokens"])
def test_an_absurd_count_is_booked_at_the_worst_case_and_its_answer_is_used(
    key: str, number: str
) -> None:
    with Server(chat(number, "usage", key)) as server:
        talk = Talk(server)
        reply = talk.ask()
    assert (reply.text, reply.input_tokens, reply.output_tokens) == ("hi", *WORST)
    assert talk.calls[-1].is_worst_case


@pytest.mark.parametrize("number", ABSURD.values(), ids=ABSURD)
def test_the_call_says_why_a_count_was_not_believed(number: str) -> None:
    with Server(chat(number, "usage", "completion_tokens")) as server:
        talk = Talk(server)
        talk.ask()
    assert talk.calls[-1].doubt.startswith("expected ")
    assert len(talk.calls[-1].doubt) < 100


@pytest.mark.parametrize("number", [ABSURD["a fraction"], ABSURD["400 digits"], DIGITS])
@pytest.mark.parametrize(
    ("name", "step"),
    [("anthropic:claude-scripted", anthropic), ("google:gemini-2.5-pro", google)],
)
def test_each_provider_s_counts_are_bounded(name: str, step: Any, number: str) -> None:
    with Server(step(number)) as server:
        talk = Talk(server, name)
        assert talk.ask().text == "hi"
    assert talk.calls[-1].is_worst_case
    assert talk.calls[-1].doubt


def test_no_text_has_no_tokens() -> None:
    with Server(chat("0", "usage", "completion_tokens")) as server:
        talk = Talk(server)
        talk.ask()
    assert talk.calls[-1].doubt == "expected 1 to 1,000,000 tokens of output, got 0"


def test_an_absurd_part_of_a_count_makes_the_whole_doubtful() -> None:
    with Server(chat("-3", "usage", "prompt_tokens_details", "cached_tokens")) as server:
        talk = Talk(server)
        talk.ask()
    assert talk.calls[-1].doubt == "expected a whole number of tokens in cached_tokens, got -3"


def test_a_count_that_is_believed_has_no_doubt() -> None:
    with Server(answer("hi", (20, 10))) as server:
        talk = Talk(server)
        talk.ask()
    assert talk.calls[-1].doubt == ""


def test_costs_in_the_usage_may_be_fractions() -> None:
    with Server(chat("0.00015", "usage", "cost")) as server:
        talk = Talk(server)
        assert talk.ask().input_tokens == 20


def test_a_count_that_is_null_was_not_told() -> None:
    with Server(chat("null", "usage", "prompt_tokens")) as server:
        talk = Talk(server)
        assert talk.ask().input_tokens == WORST[0]


def test_the_costs_hold_each_doubt_once() -> None:
    call = Call("judge", "m", 9, 9, 0.0, None, 1, "", is_worst_case=True, doubt="expected 1, got 2")
    assert costs([call, call])[0].doubts == ("expected 1, got 2",)


# ---------------------------------------------------------------- everything else


@pytest.mark.parametrize("path", [("created",), ("choices", 0, "index"), ("extra",)])
@pytest.mark.parametrize("number", [*ABSURD.values(), "null"], ids=[*ABSURD, "null"])
def test_a_number_that_nobody_reads_spoils_no_answer(path: tuple[str | int], number: str) -> None:
    with Server(chat(number, *path)) as server:
        reply = Talk(server).ask()
    assert (reply.text, reply.input_tokens) == ("hi", 20)


@pytest.mark.parametrize(
    "message", [f"maximum context length is {DIGITS}", f"at most {DIGITS} output tokens"]
)
@pytest.mark.parametrize("status", [400, 413, 429])
def test_a_limit_of_5000_digits_is_no_limit(status: int, message: str) -> None:
    with Server(refusal(status, message)) as server, pytest.raises((ProviderFailed, TooLong)):
        Talk(server).ask()


def test_a_limit_without_room_for_any_answer_is_not_kept() -> None:
    steps = refusal(400, "at most 5 output tokens"), answer("hi")
    with Server(*steps) as server:
        talk = Talk(server)
        with pytest.raises(ProviderFailed):
            talk.ask()
        talk.ask()
    assert server.requests[1].data["max_tokens"] == 100


@pytest.mark.parametrize("seconds", ["9" * 20, "-5", "NaN", DIGITS])
def test_a_wait_that_is_absurd_was_not_asked_for(seconds: str) -> None:
    with Server(refusal(429, "slow down", retry_after=seconds), answer("hi")) as server:
        talk = Talk(server)
        talk.ask()
    assert 1 <= talk.waits[0] <= 2


def test_a_list_of_models_is_read_beside_an_absurd_number() -> None:
    models = Step(listed("qwen3").body.replace('{"id"', f'{{"created": {DIGITS}, "id"'))
    with Server(answer("hi"), models=models) as server:
        talk = Talk(server)
        assert reachable([talk.spec], talk.access)[0].told == "answers to its key"


def test_a_number_is_no_name_of_a_model() -> None:
    models = Step('{"data": [{"id": 5}, {"id": "qwen3-8b"}]}')
    with Server(answer("hi"), models=models) as server:
        talk = Talk(server)
        assert reachable([talk.spec], talk.access)[0].told.endswith("but qwen3-8b")


def test_what_is_within_the_bounds_stays_as_it_was_written() -> None:
    body = answer("hi \ud83d", (20, 10)).body.encode()
    assert bounded_json(body) == (body, "")


def test_what_nests_deeper_than_anybody_needs_is_left_out() -> None:
    body = '{"message": ' + "[" * 500 + "]" * 500 + "}"
    assert bounded_json(body.encode())[0].count(b"[") < 101


# ---------------------------------------------------------------- prices and limits


@pytest.mark.parametrize(
    "option",
    ["input=1e300,output=1", "weight=1e300", "weight=inf", f"max_output={10**400}"],
)
def test_an_absurd_option_of_a_model_is_refused_in_a_sentence(option: str) -> None:
    with pytest.raises(InputError, match="expected") as error:
        parse_model(f"openai:gpt-5,{option}")
    assert len(str(error.value)) < 250


def test_a_weight_of_400_digits_is_refused() -> None:
    with pytest.raises(InputError, match="expected a weight"):
        ModelSpec("openai:gpt-5", weight=10**400)


@pytest.mark.parametrize("limit", [{"max_dollars": 1e308}, {"max_tokens": 10**400}])
def test_an_absurd_limit_is_refused(limit: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected --max"):
        Ledger(**limit)
