"""Asks language models over the network: the one place where the world's failures are treated.

    answered                              Reply
    the request is too long               asked for a shorter answer, where that helps; else TooLong
    more output than the model has        asked for less
    429, 408, 409, 425, 5xx, timeout,     asked again after a wait: as long as the answer says,
    connection lost, answer unreadable    else longer each time
    any other refusal (401, 403, 404,     ProviderFailed: what the model answered, without keys,
    no credit), or retries used up        and that the same command goes on

Each attempt is reserved in the ledger and becomes one Call. No number of an endpoint is taken as it
comes: see `bounds`. When the run ends, what is under way is
given up, and raises Stopped. The requests go through pydantic-ai,
with its own retries switched off, each over a connection of its own: threads share nothing.
"""

import asyncio
import contextlib
import difflib
import functools
import importlib
import json
import random
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from move37.records import Call, InputError
from move37.research.bounds import bounded_json, count_fault, token_limit, wait_seconds
from move37.research.ledger import Ledger, Usage, estimate_tokens, price
from move37.research.models import (
    PROVIDERS,
    Access,
    Asking,
    ModelSpec,
    ProviderFailed,
    Reply,
    Stopped,
    TooLong,
    is_loopback,
    key_variables,
)

if TYPE_CHECKING:  # late: it takes more than a second
    import ssl

    import httpx2
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.models import Model

T = TypeVar("T")
MISSING = "language models need the package pydantic-ai-slim: pip install 'move37[models]'"
FIRST_WAIT_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 60.0
BUSY = (408, 409, 425, 429)
TIMEOUTS = (408, 504, 524)  # of a proxy: the model behind it may have worked
# How endpoints say that a request is too long; the number is the model's limit.
LIMITS = (
    r"maximum context length (?:is|of) (\d+)",  # OpenAI, vLLM, OpenRouter
    r"tokens > (\d+) maximum",  # Anthropic
    r"maximum number of tokens allowed \((\d+)\)",  # Google
    r"n_ctx\W+(\d+)",  # llama.cpp
    r"exceed context limit: \d+ \+ \d+ > (\d+)",  # Anthropic, with the answer
    r"context (?:length|window|size)\D{0,40}(\d+)",
)
TOO_LONG = "|".join(
    (
        r"context.length.exceeded|exceeds?.(?:the.)?(?:available.)?context.size|prompt is too long",
        *LIMITS,
    )
)
# How they say that no answer may be so long; the number is the most tokens of one.
OUTPUT_LIMITS = (
    r"at most (\d+) (?:completion|output) tokens",  # OpenAI
    r"max_tokens: \d+ > (\d+)",  # Anthropic
    r"valid range of max_tokens is \[1, ?(\d+)\]",  # DeepSeek
)
SUFFIX = r"(:latest|-\d{8})$"
LEAST_OUTPUT = 1_000  # tokens, below which no answer is worth asking for
LONGEST_NAME = 300  # characters, of a model in a list
NAMES_TOLD = 5  # of the models that an endpoint lists
LAST_SECONDS = 5.0  # at the end of a run, for what is under way
NOTHING = Usage(0, 0)
_GOES_ON = "the same command goes on"
_ADDRESS = f"with the right name and address {_GOES_ON}"
_CREDIT = f"when the account has credit again, {_GOES_ON}"


@dataclass(frozen=True)
class _Failure:
    """An attempt that brought no answer."""

    kind: Literal["busy", "refused", "too long", "too much"]  # too much output is asked for
    told: str  # without keys
    usage: Usage | None = NOTHING  # None: the endpoint may have worked for it
    advice: str = f"{_GOES_ON} later"
    wait_seconds: float | None = None  # None: the answer did not say
    limit_tokens: int | None = None


@dataclass(frozen=True)
class _Answer:
    text: str
    finished: bool
    usage: Usage | None  # None: the endpoint did not count, or its count is not believed
    doubt: str = ""  # why it is not believed

    def with_checked_usage(self, estimated_input_tokens: int) -> Self:
        """Returns the answer; without a usage that no request of this size can have."""
        if self.usage is None:
            return self
        fault = count_fault(
            self.usage.input_tokens,
            self.usage.output_tokens,
            estimated_input_tokens=estimated_input_tokens,
            has_text=bool(self.text),
        )
        return replace(self, usage=None, doubt=fault) if fault else self


class Client:
    """Asks models, within the ledger's limits; used by any number of threads."""

    def __init__(
        self,
        access: Access,
        ledger: Ledger,
        *,
        dice: random.Random,
        sleep: Callable[[float], object] | None = None,  # None: until then, or the end of the run
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,  # seconds since 1970, for retry-after with a date
        attempts: int = 6,
        timeout_seconds: float = 900.0,  # for one answer; reasoning takes minutes
        patience_seconds: float = 600.0,  # an endpoint that asks for a longer wait has failed
        tell: Callable[[Asking], object] = lambda asking: None,  # by the thread that asks
    ) -> None:
        self._access = access
        self._ledger = ledger
        self._dice = dice
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait
        self._clock = clock
        self._now = now
        self._attempts = attempts
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self._tell = tell
        self._most_output: dict[str, int] = {}  # tokens, by model, as endpoints have said
        self._changed = threading.Condition()
        self._sending: set[tuple[asyncio.AbstractEventLoop, asyncio.Task[object]]] = set()
        self._attempting = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends what other threads have under way, with Stopped, and waits until it is booked."""
        self._stopped.set()
        with self._changed:
            for loop, task in self._sending:
                loop.call_soon_threadsafe(task.cancel)
            self._changed.wait_for(lambda: self._attempting == 0, LAST_SECONDS)

    def ask(
        self,
        spec: ModelSpec,
        system: str,
        prompt: str,
        *,
        role: str,
        max_output_tokens: int,
        experiment: int | None = None,
    ) -> Reply:
        """Returns the answer; raises InputError, TooLong, ProviderFailed, BudgetSpent, Stopped."""
        attempt = 0
        most = spec.capped(max_output_tokens)
        most = min(most, self._most_output.get(spec.name, most))
        about = role, spec.name, experiment
        try:
            while True:
                attempt += 1
                self._tell(Asking("asks", *about))
                result = self._attempt(spec, system, prompt, role, most, experiment)
                if isinstance(result, Reply):
                    return result
                less = self._less_output(spec, result, estimate_tokens(system, prompt))
                if less is not None and LEAST_OUTPUT <= less < most and attempt < self._attempts:
                    most = less
                    continue
                if result.kind == "too long":
                    raise TooLong(f"{spec.name}: {result.told}", result.limit_tokens)
                wait = self._wait_seconds(result, attempt)
                if why := self._gives_up(result, attempt, wait):
                    raise ProviderFailed(f"{spec.name} {why}: {result.told}: {result.advice}")
                self._tell(Asking("waits", *about, wait, result.told))
                self._sleep(wait)
        finally:
            self._tell(Asking("ends", *about))

    def _less_output(self, spec: ModelSpec, failure: _Failure, input_tokens: int) -> int | None:
        """Returns how many tokens of output the endpoint would take instead, if it said so."""
        if failure.limit_tokens is None:
            return None
        if failure.kind == "too much":
            if failure.limit_tokens >= LEAST_OUTPUT:  # else no later request could be answered
                self._most_output[spec.name] = failure.limit_tokens
            return failure.limit_tokens
        return failure.limit_tokens - input_tokens

    def _gives_up(self, failure: _Failure, attempt: int, wait: float) -> str:
        """Returns why the request is not sent again, "" if it is."""
        if failure.kind in ("refused", "too much"):
            return "refused"
        if wait > self._patience_seconds:
            return f"asks to wait for {failure.wait_seconds or wait:,.0f} s"
        return f"failed {attempt} times, at last so" if attempt >= self._attempts else ""

    def _wait_seconds(self, failure: _Failure, attempt: int) -> float:
        """As long as the answer says, or twice the last; the dice keep threads apart."""
        if failure.wait_seconds is not None:
            return failure.wait_seconds * (1 + self._dice.random() / 10)
        longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** (attempt - 1))
        return longest * (1 + self._dice.random()) / 2

    def _attempt(
        self,
        spec: ModelSpec,
        system: str,
        prompt: str,
        role: str,
        max_output_tokens: int,
        experiment: int | None,
    ) -> Reply | _Failure:
        """Sends the request once; the ledger holds what that took, whatever came of it."""
        key, url = self._access.key(spec), self._access.url(spec)
        _require_library(spec)
        with self._under_way():
            return self._send_once(
                spec, key, url, system, prompt, role, max_output_tokens, experiment
            )

    @contextlib.contextmanager
    def _under_way(self) -> Iterator[None]:
        """Within it, the end of the run waits; raises Stopped if that has come."""
        with self._changed:
            if self._stopped.is_set():
                raise Stopped
            self._attempting += 1
        try:
            yield
        finally:
            with self._changed:
                self._attempting -= 1
                self._changed.notify_all()

    def _run(self, sending: Coroutine[Any, Any, T]) -> T:
        """Returns what it gives; raises Stopped if the run ends before."""

        async def cancellable() -> T:
            task = asyncio.current_task()
            assert task is not None
            mine = (asyncio.get_running_loop(), task)
            with self._changed:
                self._sending.add(mine)
                if self._stopped.is_set():
                    task.cancel()
            try:
                return await sending
            finally:
                with self._changed:
                    self._sending.discard(mine)

        try:
            return asyncio.run(cancellable())
        except asyncio.CancelledError:
            raise Stopped from None

    def _send_once(
        self,
        spec: ModelSpec,
        key: str | None,
        url: str,
        system: str,
        prompt: str,
        role: str,
        max_output_tokens: int,
        experiment: int | None,
    ) -> Reply | _Failure:
        held = self._ledger.reserve(spec, estimate_tokens(system, prompt), max_output_tokens)
        # The worst case stands until the endpoint has said what it took.
        usage = Usage(held.input_tokens, held.output_tokens)
        dollars, failed, is_worst_case, doubt = held.dollars, "interrupted", True, ""
        started = self._clock()
        try:
            sent = self._run(
                _send(spec, key, url, system, prompt, max_output_tokens, self._timeout_seconds)
            )
            if isinstance(sent, _Answer):
                result: _Answer | _Failure = sent.with_checked_usage(held.input_tokens)
            else:
                result = self._failure(spec, sent)
            if isinstance(result, _Answer):
                failed, doubt = "", result.doubt
            else:
                failed = result.told
            if result.usage is not None:
                usage, dollars = result.usage, price(spec, result.usage)
                is_worst_case = False
        finally:
            call = Call(
                role=role,
                model=spec.name,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                seconds=self._clock() - started,
                dollars=dollars,
                experiment=experiment,
                failed=failed,
                is_worst_case=is_worst_case,
                doubt=doubt,
            )
            self._ledger.settle(held, call)
        if isinstance(result, _Failure):
            return result
        return Reply(
            text=self._access.scrub(result.text),
            finished=result.finished,
            input_tokens=call.input_tokens,
            output_tokens=call.output_tokens,
            seconds=call.seconds,
            dollars=call.dollars,
            model=spec.name,
        )

    def _failure(self, spec: ModelSpec, error: Exception) -> _Failure:
        """Sorts what was raised, and takes the keys out of it."""
        from pydantic_ai import exceptions as raised

        told = _short(self._access.scrub(_told(error)))
        if not isinstance(error, raised.ModelHTTPError):
            if 300 <= getattr(error.__cause__, "status_code", 0) < 400:
                return _Failure("refused", f"it is elsewhere: {told}", advice=_ADDRESS)
            unsent = isinstance(error, raised.ModelConnectionError) and error.phase in (
                "pool",
                "connect",
            )
            return _Failure("busy", told, usage=NOTHING if unsent else None)
        told, code = f"{error.status_code} {told}", error.status_code
        whole = f"{error.body} {error.provider_error_code} {error.provider_error_type}"
        if code in (400, 422) and (most := _number(OUTPUT_LIMITS, whole)):
            return _Failure("too much", told, limit_tokens=most)
        if (
            isinstance(error, raised.ModelContextWindowExceededError)
            or code == 413
            or (code in (400, 422) and re.search(TOO_LONG, whole, re.I))
        ):
            return _Failure("too long", told, limit_tokens=_number(LIMITS, whole))
        if isinstance(error, raised.ModelQuotaExceededError):
            return _Failure("refused", told, advice=_CREDIT)
        if isinstance(error, raised.ModelAuthenticationError):
            names = " or ".join(key_variables(spec)) or "key_env="
            return _Failure("refused", told, advice=f"with the right key in {names} {_GOES_ON}")
        if isinstance(error, raised.ModelNotFoundError):
            return _Failure("refused", told, advice=_ADDRESS)
        if code in BUSY or code >= 500:
            usage = None if code in TIMEOUTS else NOTHING
            return _Failure("busy", told, usage, wait_seconds=self._asked_seconds(error))
        return _Failure("refused", told)

    def _asked_seconds(self, error: Exception) -> float | None:
        """Returns for how long the answer asks to wait: a number, or until a date."""
        header = (getattr(error, "headers", None) or {}).get("retry-after", "")
        try:
            date = parsedate_to_datetime(header)
            date = date if date.tzinfo else date.replace(tzinfo=UTC)
            return wait_seconds(max(0.0, date.timestamp() - self._now()))
        except (ValueError, OverflowError):
            return wait_seconds(getattr(error, "retry_after", None))


def _number(patterns: Iterable[str], text: str) -> int | None:
    plain = re.sub(r"(?<=\d),(?=\d)", "", text)
    found = (re.search(pattern, plain, re.I) for pattern in patterns)
    return next((token_limit(match[1]) for match in found if match), None)


def _told(error: Exception) -> str:
    """Returns what the endpoint said, without the library's words around it."""
    body = getattr(error, "body", None)
    if message := _message(body):
        return message
    from pydantic_ai.exceptions import ModelAPIError

    if isinstance(error, ModelAPIError):
        return str(body or error)
    # The library raises whatever a strange answer breaks in it; the rest of the text is its own.
    return f"an answer that cannot be read: {str(error).partition(chr(10))[0]}"


def _message(body: object) -> str:
    while isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    message = body.get("message") if isinstance(body, dict) else None
    return message if isinstance(message, str) else ""


def _short(text: str) -> str:
    # Spaces in their place, or a key that they cut in two would be whole again.
    shown = "".join(one if one.isprintable() else " " for one in text)
    line = " ".join(shown.split()).rstrip(".")
    return line if len(line) <= 300 else f"{line[:300]} ..."


# ---------------------------------------------------------------- the library


def _require_library(spec: ModelSpec) -> None:
    """Loads what this model needs, before the clock runs; raises InputError if it is missing."""
    part = spec.provider if spec.provider in ("anthropic", "google") else "openai"
    try:
        importlib.import_module(f"pydantic_ai.models.{part}")
    except ImportError:
        raise InputError(MISSING) from None


@functools.cache
def _certificates() -> "ssl.SSLContext":
    import httpx2

    return httpx2.create_ssl_context()


@functools.cache
def _bounded_client() -> type[Any]:
    """Returns a kind of httpx2.AsyncClient: the class can be made where httpx2 is loaded only."""
    import httpx2

    class BoundedClient(httpx2.AsyncClient):
        """Bounds the numbers of each answer before the providers' libraries read it."""

        usage_fault = ""  # why the usage of the last answer is not believed

        async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
            answer = await super().send(request, **options)
            if options.get("stream"):
                return answer
            body, self.usage_fault = bounded_json(answer.content)
            if body is answer.content:
                return answer
            changed = ("content-encoding", "content-length", "transfer-encoding")
            headers = [
                (name, value)
                for name, value in answer.headers.multi_items()
                if name.lower() not in changed
            ]
            return httpx2.Response(
                answer.status_code,
                headers=headers,
                content=body,
                request=answer.request,
                extensions=answer.extensions,
            )

    return BoundedClient


async def _send(
    spec: ModelSpec,
    key: str | None,
    url: str,
    system: str,
    prompt: str,
    max_output_tokens: int,
    timeout_seconds: float,
) -> _Answer | Exception:
    """Returns the answer, or what the network, the endpoint or a strange answer raised."""
    from pydantic_ai.direct import model_request
    from pydantic_ai.messages import ModelRequest, SystemPromptPart, UserPromptPart
    from pydantic_ai.settings import ModelSettings

    settings = ModelSettings(
        max_tokens=max_output_tokens,
        timeout=timeout_seconds,
        request_timeout=timeout_seconds,
        max_retries=0,  # the library's; ours are in Client.ask
    )
    parts = [SystemPromptPart(system)] if system else []
    messages = [ModelRequest(parts=[*parts, UserPromptPart(prompt)])]
    # No redirect is followed: it would take the key elsewhere.
    async with _bounded_client()(
        timeout=timeout_seconds,
        follow_redirects=False,
        trust_env=not is_loopback(url),  # proxies
        verify=_certificates(),
    ) as http:
        model = _model(spec, key, url, http)
        try:
            response = await model_request(model, messages, model_settings=settings)
        except Exception as error:  # noqa: BLE001  an empty list of choices is an IndexError there
            return error
        return _answer(response, http.usage_fault)


def _model(spec: ModelSpec, key: str | None, url: str, http: "httpx2.AsyncClient") -> "Model":
    if spec.provider == "anthropic":
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        anthropic = AnthropicProvider(api_key=key, base_url=url, http_client=http)
        return AnthropicModel(spec.model, provider=anthropic)
    if spec.provider == "google":
        from pydantic_ai.models.google import GoogleModel
        from pydantic_ai.providers.google import GoogleProvider

        google = GoogleProvider(api_key=key, base_url=url, http_client=http)
        return GoogleModel(spec.model, provider=google)
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel

    if spec.provider == "openai":
        from pydantic_ai.providers.openai import OpenAIProvider

        openai = OpenAIProvider(base_url=url, api_key=key, http_client=http)
        return OpenAIResponsesModel(spec.model, provider=openai)
    from pydantic_ai.profiles.openai import OpenAIModelProfile
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

    # All such endpoints know max_tokens; some ignore the newer max_completion_tokens.
    other = OpenAICompatibleProvider(
        spec.provider or "endpoint",
        base_url=url,
        api_key=key or "none",
        http_client=http,
        profile=OpenAIModelProfile(openai_chat_supports_max_completion_tokens=False),
    )
    return OpenAIChatModel(spec.model, provider=other)


def _answer(response: "ModelResponse", usage_fault: str) -> _Answer:
    took = response.usage
    counted = not usage_fault and not took.unmeasured_requests and took.input_tokens > 0
    # An endpoint's numbers need not fit together, and a price is refused for those that do not.
    read = min(max(took.cache_read_tokens, 0), took.input_tokens)
    written = min(max(took.cache_write_tokens, 0), took.input_tokens - read)
    usage = Usage(took.input_tokens, took.output_tokens, read, written)
    finished = response.finish_reason in (None, "stop")
    return _Answer(response.text or "", finished, usage if counted else None, usage_fault)


# ---------------------------------------------------------------- before a run


@dataclass(frozen=True)
class Reach:
    """Whether a model can be asked."""

    model: str
    fine: bool
    told: str
    listed: bool = True  # False: the endpoint tells its models, and this one is not among them
    lost: bool = False  # True: it certainly cannot be asked


def reachable(
    specs: Iterable[ModelSpec], access: Access, *, timeout_seconds: float = 5.0
) -> list[Reach]:
    """Returns for each model whether its key is there and its endpoint answers; no tokens are used.

    It asks for the endpoint's list of models. The key is never part of what is told.
    """
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda spec: _reach(spec, access, timeout_seconds), specs))


def _reach(spec: ModelSpec, access: Access, timeout_seconds: float) -> Reach:
    try:
        import httpx2
    except ImportError:
        return Reach(spec.name, False, MISSING, lost=True)
    try:
        key = access.key(spec)
    except InputError as error:
        told = str(error).removeprefix(f"{spec.name}: ")  # whoever shows it names the model
        return Reach(spec.name, False, told, lost=True)
    base = access.url(spec).rstrip("/")
    # A list comes in pages, of which the first is to hold all.
    url = base + {
        "anthropic": "/v1/models?limit=1000",
        "google": "/v1beta/models?pageSize=1000",
    }.get(spec.provider, "/models")
    headers = {
        "anthropic": {"x-api-key": key or "", "anthropic-version": "2023-06-01"},
        "google": {"x-goog-api-key": key or ""},
    }.get(spec.provider, {"authorization": f"Bearer {key}"} if key else {})
    if spec.provider == "openrouter":
        url = base + "/key"  # its list of models is told to everybody
    try:
        with httpx2.Client(timeout=timeout_seconds, trust_env=not is_loopback(base)) as http:
            answer = http.get(url, headers=headers)
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        told = f"no answer: {_short(access.scrub(str(error) or type(error).__name__))}"
        # What is slow, or breaks off, is there; it may answer when it is asked.
        absent = (httpx2.ConnectError, httpx2.UnsupportedProtocol, httpx2.InvalidURL)
        lost = isinstance(error, absent)
        return Reach(spec.name, False, f"{told}: {_where(spec)}" if lost else told, lost=lost)
    data = _data(answer)
    if not answer.is_success:
        said = _message(data) or answer.text
        said = answer.reason_phrase if said.lstrip()[:1] in ("", "<") else said  # no HTML
        told = _short(access.scrub(f"answers {answer.status_code} {said}"))
        lost = _refuses_key(answer)
        return Reach(spec.name, False, f"{told}: {_which_key(spec)}" if lost else told, lost=lost)
    told = f"answers {'to its key' if key else 'without a key'}"
    if data is None:  # a page, as some servers have for every path
        told += ", but with no list of models: look at its address, which ends in /v1 for most"
        return Reach(spec.name, True, told, listed=False)
    names = _listed(data)
    # An endpoint that lists qwen:latest or claude-1-20260131 serves it without that as well.
    listed = not names or spec.model in names | {re.sub(SUFFIX, "", name) for name in names}
    if not listed:
        nearest = difflib.get_close_matches(spec.model, sorted(names), NAMES_TOLD, cutoff=0.0)
        some = _short(", ".join(nearest)) + ", ..." * (len(names) > NAMES_TOLD)
        told += f"; its list of models has no {spec.model}, but {some}"
    return Reach(spec.name, True, told, listed)


def _where(spec: ModelSpec) -> str:
    """Returns what to do where nothing answers."""
    if spec.provider:
        return f"check the network, and {PROVIDERS[spec.provider].url_variable} if it is set"
    return "start its server, or correct the address"


def _which_key(spec: ModelSpec) -> str:
    """Returns what to do where the key is refused."""
    variables = " or ".join(key_variables(spec))
    if not variables:
        return "put its key into a variable and name it behind the model: ,key_env=VARIABLE"
    return f"check the key in {variables}"


def _refuses_key(answer: "httpx2.Response") -> bool:
    # Not 403: a key, or a gateway, may refuse the list alone. Google says it with 400.
    return answer.status_code == 401 or "API_KEY_INVALID" in answer.text


def _data(answer: "httpx2.Response") -> object:
    """Returns the JSON of an answer, None if it is something else."""
    try:
        data: object = json.loads(bounded_json(answer.content)[0])
    except (ValueError, RecursionError):
        return None
    return data


def _listed(data: object) -> set[str]:
    """Returns the names in an endpoint's list of models; nothing where it is read otherwise."""
    found = data.get("data") or data.get("models") if isinstance(data, dict) else None
    listed = (
        [one for one in found or () if isinstance(one, dict)] if isinstance(found, list) else []
    )
    names = (one.get("id") or one.get("name") for one in listed)
    return {
        name.removeprefix("models/")
        for name in names
        if isinstance(name, str) and 0 < len(name) <= LONGEST_NAME
    }
