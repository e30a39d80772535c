"""What a client makes of what an endpoint answers; a script plays the endpoint."""

import contextlib
import json
import random
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from move37.records import Call, InputError
from move37.research import client
from move37.research.client import Client, Reach, reachable
from move37.research.ledger import BudgetSpent, Ledger, Usage, estimate_tokens, price
from move37.research.models import (
    Access,
    Asking,
    ModelSpec,
    ProviderFailed,
    Reply,
    Stopped,
    TooLong,
    parse_model,
)
from tests.research.server import Server, Step, answer, empty, listed, refusal

KEY = "sk-SECRET-0123456789"
ENVIRONMENT = {"K": KEY, "ANTHROPIC_API_KEY": KEY, "GEMINI_API_KEY": KEY, "OPENAI_API_KEY": KEY}
ENVIRONMENT |= {"OPENROUTER_API_KEY": KEY}
WORST = (estimate_tokens("be brief", "hello"), 100)
NOON = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@dataclass
class Talk:
    """A client of a scripted endpoint, and all that can be seen of it."""

    server: Server
    name: str = ""  # of the model; empty: that of the server, with a price and a key
    attempts: int = 3
    timeout_seconds: float = 10.0
    max_tokens: int | None = None
    waits: list[float] = field(default_factory=list)
    told: list[Asking] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        name = self.name or f"{self.server.url}#qwen3,input=1,output=2,key_env=K"
        self.spec: ModelSpec = parse_model(name)
        moved = {
            "ANTHROPIC_BASE_URL": self.server.root,
            "GOOGLE_GEMINI_BASE_URL": self.server.root,
            "OPENAI_BASE_URL": self.server.url,
            "OPENROUTER_BASE_URL": self.server.url,
        }
        self.access = Access.read([self.spec], ENVIRONMENT | moved)
        self.client = Client(
            self.access,
            Ledger(max_tokens=self.max_tokens, keep=self.calls.append),
            dice=random.Random(0),
            sleep=self.waits.append,
            now=lambda: NOON,
            attempts=self.attempts,
            timeout_seconds=self.timeout_seconds,
            tell=self.told.append,
        )

    def ask(self, prompt: str = "hello") -> Reply:
        return self.client.ask(
            self.spec, "be brief", prompt, role="judge", max_output_tokens=100, experiment=7
        )


# ---------------------------------------------------------------- an answer


def test_an_answer_comes_back_with_what_it_took() -> None:
    with Server(answer("hi", (20, 10))) as server:
        talk = Talk(server)
        reply = talk.ask()
    told = (reply.text, reply.finished, reply.input_tokens, reply.output_tokens, reply.dollars)
    assert told == ("hi", True, 20, 10, 0.00004)
    assert reply.model == talk.spec.name


def test_the_request_holds_the_messages_and_the_limit_and_nothing_else() -> None:
    with Server(answer("hi")) as server:
        Talk(server).ask()
    assert server.requests[0].path == "/v1/chat/completions"
    assert server.requests[0].data == {
        "model": "qwen3",
        "stream": False,
        "max_tokens": 100,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hello"},
        ],
    }


def test_the_key_is_in_the_header_and_not_in_the_body() -> None:
    with Server(answer("hi")) as server:
        Talk(server).ask()
    (request,) = server.requests
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in request.body + request.path


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_an_answer_that_was_cut_is_not_finished(finish: str) -> None:
    with Server(answer("hi", finish=finish)) as server:
        assert not Talk(server).ask().finished


def test_an_answer_without_usage_counts_at_its_worst_case() -> None:
    with Server(answer("hi", usage=None)) as server:
        talk = Talk(server)
        reply = talk.ask()
    assert (reply.input_tokens, reply.output_tokens) == WORST
    assert talk.calls[-1].is_worst_case


def test_an_answer_with_usage_is_no_worst_case() -> None:
    with Server(answer("hi", (20, 10))) as server:
        talk = Talk(server)
        talk.ask()
    assert not talk.calls[-1].is_worst_case


def test_a_usage_that_contradicts_itself_has_a_price_all_the_same() -> None:
    data = json.loads(answer("hi", (20, 10)).body)
    data["usage"]["prompt_tokens_details"] = {"cached_tokens": 9000}
    with Server(Step(json.dumps(data))) as server:
        talk = Talk(server, "openrouter:openai/gpt-4o")
        assert talk.ask().dollars == price(talk.spec, Usage(20, 10, cache_read_tokens=20))


def test_a_call_is_kept_with_its_role_and_experiment() -> None:
    with Server(answer("hi", (20, 10))) as server:
        talk = Talk(server)
        reply = talk.ask()
    assert talk.calls == [
        Call("judge", talk.spec.name, 20, 10, reply.seconds, 0.00004, 7, failed="")
    ]


def test_anthropic_is_asked_in_its_own_protocol() -> None:
    data: dict[str, Any] = {"id": "1", "type": "message", "role": "assistant", "model": "c"}
    data |= {"content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"}
    data |= {"stop_sequence": None, "usage": {"input_tokens": 20, "output_tokens": 10}}
    with Server(Step(json.dumps(data))) as server:
        reply = Talk(server, "anthropic:claude-scripted").ask()
    assert (reply.text, reply.finished, reply.input_tokens) == ("hi", True, 20)
    assert KEY in server.requests[0].headers["authorization"]
    assert server.requests[0].data["max_tokens"] == 100


def test_google_is_asked_in_its_own_protocol() -> None:
    content = {"role": "model", "parts": [{"text": "hi"}]}
    data = {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 10},
        "modelVersion": "gemini-2.5-pro",
        "responseId": "1",
    }
    with Server(Step(json.dumps(data))) as server:
        reply = Talk(server, "google:gemini-2.5-pro").ask()
    assert (reply.text, reply.finished, reply.input_tokens) == ("hi", True, 20)
    assert server.requests[0].headers["x-goog-api-key"] == KEY
    assert server.requests[0].data["generationConfig"]["maxOutputTokens"] == 100


def test_openai_is_asked_in_its_own_protocol() -> None:
    text = {"type": "output_text", "text": "hi", "annotations": []}
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed"}
    data: dict[str, Any] = {"id": "1", "object": "response", "created_at": 1, "model": "gpt-5"}
    data |= {"status": "completed", "output": [message | {"content": [text]}], "tools": []}
    data |= {"parallel_tool_calls": False, "tool_choice": "auto"}
    details = {"input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}}
    details |= {"output_tokens_details": {"reasoning_tokens": 4}}
    data["usage"] = {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30} | details
    with Server(Step(json.dumps(data))) as server:
        reply = Talk(server, "openai:gpt-5").ask()
    assert (reply.text, reply.finished, reply.output_tokens) == ("hi", True, 10)
    assert server.requests[0].path == "/v1/responses"
    assert server.requests[0].data["max_output_tokens"] == 100


# ---------------------------------------------------------------- asked again


PASSING = {
    "429": refusal(429, "slow down"),
    "500": refusal(500, "oops"),
    "503": refusal(503, "overloaded"),
    "408": refusal(408, "timeout"),
    "dropped": Step(drop=True),
    "no JSON": Step("<html>"),
    "text": Step("<html>", headers=(("content-type", "text/html"),)),
    "empty choices": empty(),
    "no object": Step("[]"),
    "another shape": Step('{"choices": "x"}'),
    "no message": Step('{"choices": [{}]}'),
}


@pytest.mark.parametrize("step", PASSING.values(), ids=PASSING)
def test_what_may_pass_is_asked_again(step: Step) -> None:
    with Server(step, answer("hi")) as server:
        assert Talk(server).ask().text == "hi"
    assert len(server.requests) == 2


def test_what_takes_too_long_is_asked_again() -> None:
    never = threading.Event()
    with Server(answer("late", after=never), answer("hi")) as server:
        assert Talk(server, timeout_seconds=0.5).ask().text == "hi"


@pytest.mark.parametrize("provider", ["anthropic:c", "google:g", "openai:o"])
def test_the_library_asks_once_and_leaves_retries_to_us(provider: str) -> None:
    with Server(refusal(500, "oops")) as server:
        with pytest.raises(ProviderFailed):
            Talk(server, provider, attempts=1).ask()
        assert len(server.requests) == 1


def test_a_wait_is_as_long_as_the_answer_says_and_hardly_longer() -> None:
    with Server(refusal(429, "slow down", retry_after="30"), answer("hi")) as server:
        talk = Talk(server)
        talk.ask()
    assert 30 <= talk.waits[0] <= 33


def test_a_wait_may_be_given_as_a_date() -> None:
    date = "Fri, 15 Jan 2027 08:00:20 GMT"
    with Server(refusal(429, "slow down", retry_after=date), answer("hi")) as server:
        talk = Talk(server)
        talk.ask()
    assert 20 <= talk.waits[0] <= 22


def test_waits_grow_and_are_not_the_same_for_all() -> None:
    with Server(refusal(500, "oops")) as server:
        talk = Talk(server, attempts=8)
        with pytest.raises(ProviderFailed):
            talk.ask()
    limits = (2, 4, 8, 16, 32, 60, 60)
    assert all(most / 2 <= wait <= most for wait, most in zip(talk.waits, limits, strict=True))
    assert len(set(talk.waits)) == 7


def test_an_endpoint_that_asks_for_a_long_wait_has_failed() -> None:
    with Server(refusal(429, "come back", retry_after="7200")) as server:
        talk = Talk(server)
        with pytest.raises(
            ProviderFailed, match=r"asks to wait for 7.*429 come back.*goes on later"
        ):
            talk.ask()
    assert talk.waits == []


def test_whoever_watches_is_told_what_is_asked_why_it_waits_and_for_how_long() -> None:
    with Server(refusal(429, "slow down", retry_after="30"), answer("hi")) as server:
        talk = Talk(server)
        talk.ask()
    about = ("judge", talk.spec.name, 7)
    assert talk.told == [
        Asking("asks", *about),
        Asking("waits", *about, talk.waits[0], "429 slow down"),
        Asking("asks", *about),
        Asking("ends", *about),
    ]


def test_whoever_watches_is_told_of_the_end_where_no_answer_came() -> None:
    with Server(refusal(401, "no")) as server:
        talk = Talk(server)
        with pytest.raises(ProviderFailed):
            talk.ask()
    assert [one.state for one in talk.told] == ["asks", "ends"]


def test_retries_end() -> None:
    with Server(refusal(500, "oops")) as server:
        with pytest.raises(ProviderFailed, match="failed 3 times, at last so: 500 oops: the same"):
            Talk(server).ask()
        assert len(server.requests) == 3


def test_an_endpoint_that_is_not_there_has_failed_and_costs_nothing() -> None:
    with Server(answer("hi")) as server:
        pass
    talk = Talk(server)
    with pytest.raises(ProviderFailed, match="failed 3 times"):
        talk.ask()
    assert [(one.input_tokens, one.dollars) for one in talk.calls] == [(0, 0.0)] * 3


def test_what_was_refused_costs_nothing() -> None:
    with Server(refusal(500, "oops"), answer("hi", (20, 10))) as server:
        talk = Talk(server)
        talk.ask()
    assert [(one.failed, one.input_tokens) for one in talk.calls] == [("500 oops", 0), ("", 20)]


@pytest.mark.parametrize("kind", ["dropped", "no JSON", "empty choices", "408"])
def test_what_the_endpoint_may_have_worked_for_counts_at_its_worst_case(kind: str) -> None:
    with Server(PASSING[kind], answer("hi")) as server:
        talk = Talk(server)
        talk.ask()
    assert (talk.calls[0].input_tokens, talk.calls[0].output_tokens) == WORST
    assert talk.calls[0].failed


def test_a_call_that_was_interrupted_counts_at_its_worst_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "_send", stopped)
    with Server(answer("hi")) as server:
        talk = Talk(server)
        with pytest.raises(KeyboardInterrupt):
            talk.ask()
    (one,) = talk.calls
    assert (one.failed, one.input_tokens, one.output_tokens) == ("interrupted", *WORST)


# ---------------------------------------------------------------- refused


REFUSALS = {
    "401": (refusal(401, f"no {KEY}"), r"refused: 401 no \*\*\*: with the right key in K the same"),
    "403": (refusal(403, "not yours"), "refused: 403 not yours: with the right key in K the same"),
    "404": (refusal(404, "no model"), "refused: 404 no model: with the right name and address"),
    "400": (refusal(400, "bad"), "refused: 400 bad: the same command goes on later"),
    "quota": (refusal(429, "pay", "insufficient_quota"), "refused: 429 pay: when the account has"),
    "402": (refusal(402, "pay"), "refused: 402 pay: when the account has credit again"),
    "redirect": (Step("", 307, (("location", "http://127.0.0.1:9/"),)), "it is elsewhere"),
}


@pytest.mark.parametrize(("step", "told"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_told_at_once(step: Step, told: str) -> None:
    with Server(step) as server:
        talk = Talk(server)
        with pytest.raises(ProviderFailed, match=told) as caught:
            talk.ask()
        assert len(server.requests) == 1
    assert str(caught.value).startswith(talk.spec.name)


@pytest.mark.parametrize(
    ("message", "code", "limit"),
    [
        ("maximum context length is 8192 tokens, however", "context_length_exceeded", 8192),
        ("prompt is too long: 208310 tokens > 200000 maximum", "invalid_request_error", 200000),
        ("exceeds the available context size (4096 tokens)", "exceed_context_size_error", 4096),
        ("too much", "context_length_exceeded", None),
    ],
)
def test_a_request_that_is_too_long_is_told_with_the_limit(
    message: str, code: str, limit: int | None
) -> None:
    with Server(refusal(400, message, code)) as server:
        with pytest.raises(TooLong, match=message.split("(")[0]) as caught:
            Talk(server).ask()
        assert len(server.requests) == 1
    assert caught.value.limit_tokens == limit


def test_a_missing_key_is_told_before_anything_is_sent() -> None:
    with Server(answer("hi")) as server:
        with pytest.raises(InputError, match="expected its key in NONE"):
            Talk(server, f"{server.url}#m,key_env=NONE").ask()
        assert server.requests == []


ECHOES = {
    "refused": refusal(401, f"bad key {KEY}"),
    "busy": refusal(500, f"bad key {KEY}"),
    "too long": refusal(400, f"{KEY}", "context_length_exceeded"),
    "no JSON": Step(KEY),
    "text": Step(KEY, headers=(("content-type", "text/plain"),)),
    "plain refusal": Step(KEY, 400, (("content-type", "text/plain"),)),
    "cut": refusal(400, "x" * 295 + KEY),
}


@pytest.mark.parametrize("step", ECHOES.values(), ids=ECHOES)
def test_a_key_that_the_endpoint_repeats_is_in_no_error_and_no_call(step: Step) -> None:
    with Server(step) as server:
        talk = Talk(server, attempts=1)
        with pytest.raises((ProviderFailed, TooLong)) as caught:
            talk.ask()
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "SECRET" not in repr(chain) + str(chain)
        chain = chain.__cause__ or chain.__context__
    assert "SECRET" not in repr(talk.calls) + repr(talk.access) + repr(talk.spec)
    assert "sk-" not in talk.calls[0].failed


# ---------------------------------------------------------------- limits


def test_nothing_is_sent_that_might_exceed_the_limit() -> None:
    with Server(answer("hi")) as server:
        with pytest.raises(BudgetSpent):
            Talk(server, max_tokens=sum(WORST) - 1).ask()
        assert server.requests == []


def test_a_retry_has_to_fit_too() -> None:
    with Server(Step(drop=True), answer("hi")) as server:
        with pytest.raises(BudgetSpent):
            Talk(server, max_tokens=sum(WORST) * 2 - 1).ask()
        assert len(server.requests) == 1


def test_eight_threads_stay_within_the_limit_together() -> None:
    with Server(answer("hi", (40, 60))) as server:
        talk = Talk(server, max_tokens=2000)

        def work() -> None:
            with contextlib.suppress(BudgetSpent):
                while True:
                    talk.ask()

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = sum(one.input_tokens + one.output_tokens for one in talk.calls)
        assert len(server.requests) == len(talk.calls)
    assert 2000 - 8 * sum(WORST) <= took <= 2000


# ---------------------------------------------------------------- before a run


def reach(models: Step, name: str = "", timeout_seconds: float = 5.0) -> Reach:
    """What comes of asking whether a model can be reached, where this is the list of models."""
    with Server(models=models) as server:
        talk = Talk(server, name)
        (found,) = reachable([talk.spec], talk.access, timeout_seconds=timeout_seconds)
    return found


def test_an_endpoint_that_lists_its_models_is_reachable() -> None:
    with Server(models=listed()) as server:
        talk = Talk(server)
        (found,) = reachable([talk.spec], talk.access)
    assert (found.fine, found.told) == (True, "answers to its key")
    assert (server.looks[0].method, server.looks[0].path) == ("GET", "/v1/models")


@pytest.mark.parametrize(
    ("provider", "path"),
    [
        ("anthropic:c", "/v1/models?limit=1000"),
        ("google:g", "/v1beta/models?pageSize=1000"),
    ],
)
def test_each_provider_is_looked_for_where_it_lists_all_its_models(
    provider: str, path: str
) -> None:
    with Server(models=Step("{}")) as server:
        talk = Talk(server, provider)
        assert reachable([talk.spec], talk.access)[0].fine
    assert server.looks[0].path == path


@pytest.mark.parametrize("name", ["qwen3", "qwen3:latest", "qwen3-20260131"])
def test_a_model_is_listed_under_its_name_or_with_its_version(name: str) -> None:
    assert reach(listed("another", name)).listed


def test_a_model_that_is_not_listed_is_told_what_is() -> None:
    found = reach(listed("another", "qwen4"))
    told = "answers to its key; its list of models has no qwen3, but qwen4, another"
    assert (found.fine, found.listed, found.lost, found.told) == (True, False, False, told)


def test_of_a_long_list_the_nearest_names_are_told() -> None:
    found = reach(listed(*(f"another-{number}" for number in range(100)), "qwen-3"))
    assert ", but qwen-3, another-" in found.told
    assert found.told.endswith(", ...")


def test_an_endpoint_that_refuses_the_key_is_lost_and_the_key_is_not_told() -> None:
    found = reach(refusal(401, f"bad key {KEY}"))
    told = "answers 401 bad key ***: check the key in K"
    assert (found.fine, found.lost, found.told) == (False, True, told)


def test_a_google_model_whose_key_is_refused_is_lost() -> None:
    data = {"code": 400, "message": "not valid", "details": [{"reason": "API_KEY_INVALID"}]}
    found = reach(Step(json.dumps({"error": data}), 400), "google:g")
    told = "answers 400 not valid: check the key in GEMINI_API_KEY or GOOGLE_API_KEY"
    assert (found.lost, found.told) == (True, told)


@pytest.mark.parametrize("page", ["<html>Welcome</html>", "[" * 200_000])
def test_a_page_is_no_list_of_models(page: str) -> None:
    found = reach(Step(page))
    assert (found.fine, found.listed, found.lost) == (True, False, False)
    assert ", but with no list of models: " in found.told


def test_a_model_without_a_name_is_not_listed() -> None:
    assert reach(Step('{"data": [{"id": null}]}')).told == "answers to its key"


def test_what_an_endpoint_says_has_no_control_characters() -> None:
    assert reach(refusal(404, "no\x1b[2Jway")).told == "answers 404 no [2Jway"


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
def test_an_endpoint_that_refuses_the_list_alone_is_not_lost(status: int) -> None:
    found = reach(refusal(status, "not now"))
    assert (found.fine, found.lost, found.told) == (False, False, f"answers {status} not now")


def test_of_a_page_of_html_the_status_is_told() -> None:
    assert reach(Step("<html><body>Oh no", 404)).told == "answers 404 Not Found"


def test_an_endpoint_that_is_slow_is_not_lost() -> None:
    found = reach(Step(after=threading.Event()), timeout_seconds=0.1)
    assert (found.lost, found.told) == (False, "no answer: timed out")


def test_an_endpoint_that_breaks_off_is_not_lost() -> None:
    assert not reach(Step(drop=True)).lost


def test_an_endpoint_that_is_not_there_is_lost() -> None:
    with Server() as server:
        talk = Talk(server)
    (found,) = reachable([talk.spec], talk.access)
    assert (found.fine, found.lost, found.told[:10]) == (False, True, "no answer:")
    assert found.told.endswith(": start its server, or correct the address")


def test_a_provider_with_an_address_that_is_none_is_lost() -> None:
    spec = parse_model("openai:gpt-5")
    access = Access.read([spec], ENVIRONMENT | {"OPENAI_BASE_URL": "gateway/v1"})
    (found,) = reachable([spec], access)
    assert found.lost
    assert found.told.endswith(": check the network, and OPENAI_BASE_URL if it is set")


def test_a_model_without_its_key_is_lost() -> None:
    spec = parse_model("openai:gpt-5")
    (found,) = reachable([spec], Access.read([spec], {}))
    assert (found.fine, found.lost, "OPENAI_API_KEY" in found.told) == (False, True, True)


# ---------------------------------------------------------------- the length of an answer


@pytest.mark.parametrize(
    "told",
    [
        "max_tokens is too large: 100. This model supports at most 64 completion tokens",
        "max_tokens: 100 > 64, which is the maximum allowed number of output tokens",
        "Invalid max_tokens value, the valid range of max_tokens is [1, 64]",
    ],
)
def test_less_output_is_asked_for_where_the_model_has_less(
    told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LEAST_OUTPUT", 10)
    with Server(refusal(400, told), answer("hi"), answer("again")) as server:
        talk = Talk(server)
        assert [talk.ask().text, talk.ask().text] == ["hi", "again"]
    assert [request.data["max_tokens"] for request in server.requests] == [100, 64, 64]
    assert talk.waits == []


def test_less_output_is_asked_for_where_the_context_has_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "LEAST_OUTPUT", 10)
    length = WORST[0] + 40
    told = f"This model's maximum context length is {length} tokens. You requested {length + 60}"
    with Server(refusal(400, told), answer("hi")) as server:
        assert Talk(server).ask().text == "hi"
    assert server.requests[1].data["max_tokens"] == 40


def test_a_model_has_no_longer_answers_than_its_user_allows() -> None:
    with Server(answer("hi")) as server:
        Talk(server, name=f"{server.url}#qwen3,max_output=50").ask()
    assert server.requests[0].data["max_tokens"] == 50


@pytest.mark.parametrize(
    "told",
    [
        "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000",
        "the request exceeds the available context size, try increasing it",
    ],
)
def test_a_request_beyond_the_context_is_too_long(told: str) -> None:
    long = "x" * 900_000
    with Server(refusal(400, told)) as server, pytest.raises(TooLong):
        Talk(server).ask(long)


# ---------------------------------------------------------------- the end of a run


def test_the_end_of_a_run_ends_what_is_under_way() -> None:
    released = threading.Event()
    with Server(answer("hi", after=released)) as server:
        talk = Talk(server)
        raised: list[BaseException] = []
        thread = threading.Thread(target=lambda: raised.append(_raised_by(talk)))
        thread.start()
        while not server.requests:
            thread.join(0.01)
        talk.client.close()
        assert [call.failed for call in talk.calls] == ["interrupted"]
        thread.join()
        released.set()
    assert isinstance(raised[0], Stopped)


def test_after_the_end_of_a_run_nothing_is_sent_or_booked() -> None:
    with Server() as server:
        talk = Talk(server)
        talk.client.close()
        with pytest.raises(Stopped):
            talk.ask()
    assert server.requests == []
    assert talk.calls == []


def test_the_end_of_a_run_ends_the_wait_for_another_try() -> None:
    with Server(refusal(429, "slow", retry_after="60")) as server:
        talk = Talk(server)
        patient = Client(talk.access, Ledger(), dice=random.Random(0))
        threading.Timer(0.2, patient.close).start()
        with pytest.raises(Stopped):
            patient.ask(talk.spec, "", "hello", role="judge", max_output_tokens=100)
    assert len(server.requests) == 1


def _raised_by(talk: Talk) -> BaseException:
    try:
        talk.ask()
    except Stopped as error:
        return error
    raise AssertionError


def test_a_key_that_an_answer_repeats_is_taken_out() -> None:
    with Server(answer(f"your key is {KEY}")) as server:
        assert Talk(server).ask().text == "your key is ***"
