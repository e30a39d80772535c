"""What the language models cost, and a limit that is kept before the money is spent.

Before a call its worst case is reserved: the prompt's tokens, estimated from above, and all the
output that it may have. If that does not fit beside what is spent, nothing is sent; if it does not
fit beside what others have reserved, it waits until they know what they took. Afterwards the
endpoint's own count takes the place of the reservation. Where the endpoint gives none, or may have
worked for an answer that never came, the worst case stands.

Not covered: a call in flight when the process is killed, and an endpoint that counts more than
the estimate or ignores max_output_tokens; its count is taken as far as it is possible (see
`bounds`), and the next call meets the limit.
"""

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from move37.records import Call, InputError, RunFailed
from move37.research.bounds import MOST_DOLLARS, MOST_TOKENS
from move37.research.models import ModelSpec

# Money is counted in whole billionths of a dollar: sums of integers do not drift.
NANO = 10**9
CHARACTERS_PER_TOKEN = 3  # English and Python have 3.5 to 4.5
FRAME_TOKENS = 64  # roles and separators around the messages


class BudgetSpent(RunFailed):
    """The next call might cost more than is left; it was not sent."""


@dataclass(frozen=True)
class CostRow:
    """What one model cost in one role."""

    role: str
    model: str
    calls: int
    failed: int
    input_tokens: int
    output_tokens: int
    seconds: float
    dollars: float | None  # None: the price of a call is not known
    worst_cases: int = 0  # calls of which the endpoint did not say what they took
    doubts: tuple[str, ...] = ()  # why counts of the endpoint were not believed, each reason once


@dataclass(frozen=True)
class Usage:
    """The tokens of one call; those of the cache are among the input."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


@dataclass(frozen=True)
class Reservation:
    """The worst case of one call, which is held back until it is settled."""

    input_tokens: int
    output_tokens: int
    dollars: float | None


def estimate_tokens(system: str, prompt: str) -> int:
    """Returns more tokens than a request is expected to have.

    A third of its ASCII characters, and one for each byte of the others.
    """
    text = system + prompt
    plain = len(text.encode("ascii", "ignore"))
    rest = len(text.encode("utf-8", "replace")) - plain
    return math.ceil(plain / CHARACTERS_PER_TOKEN) + rest + FRAME_TOKENS


def price(spec: ModelSpec, usage: Usage) -> float | None:
    """Returns dollars, rounded up to a billionth; None if the price is not known.

    The spec's own price, else nothing for a model on this machine, else the bundled price list.
    """
    into, out = spec.input_dollars_per_million, spec.output_dollars_per_million
    if into is not None and out is not None:
        dollars = Fraction(into) * usage.input_tokens + Fraction(out) * usage.output_tokens
        return math.ceil(dollars * (NANO // 10**6)) / NANO
    if spec.is_local:
        return 0.0
    return _listed_price(spec, usage)


def worst_price(spec: ModelSpec, input_tokens: int, output_tokens: int) -> float | None:
    """Returns the most that a call can cost: writing a cache is dearer than reading plain input."""
    found = (
        price(spec, Usage(input_tokens, output_tokens)),
        price(spec, Usage(input_tokens, output_tokens, cache_write_tokens=input_tokens)),
    )
    known = [dollars for dollars in found if dollars is not None]
    return max(known) if known else None


def _listed_price(spec: ModelSpec, usage: Usage) -> float | None:
    try:
        import genai_prices  # late: it takes 0.3 s
    except ImportError:
        return None
    counted = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    try:
        if spec.provider:
            found = genai_prices.calc_price(counted, spec.model, provider_id=spec.provider)
        else:
            found = genai_prices.calc_price(counted, spec.model, provider_api_url=spec.url)
    except LookupError:
        return None
    return math.ceil(found.total_price * NANO) / NANO


class Ledger:
    """What was spent, and what may still be; used by any number of threads."""

    def __init__(
        self,
        *,
        max_dollars: float | None = None,
        max_tokens: int | None = None,
        earlier: Iterable[Call] = (),
        keep: Callable[[Call], None] = lambda call: None,
    ) -> None:
        """Goes on from the calls of an earlier session; `keep` gets each new one, one at a time."""
        for name, limit, most in (
            ("--max-dollars", max_dollars, MOST_DOLLARS),
            ("--max-tokens", max_tokens, MOST_TOKENS),
        ):
            if limit is not None and not 0 <= limit <= most:
                raise InputError(f"expected {name} of 0 to {most:,.0f}, got {limit:,}")
        self._max_nanos = None if max_dollars is None else round(max_dollars * NANO)
        self._max_tokens = max_tokens
        self._keep = keep
        self._changed = threading.Condition()
        self._nanos = 0  # spent and reserved
        self._tokens = 0
        self._held_nanos = 0  # of these, reserved
        self._held_tokens = 0
        for call in earlier:
            self._nanos += _nanos(call.dollars)
            self._tokens += call.input_tokens + call.output_tokens

    @property
    def dollars(self) -> float:
        """Returns what is spent or reserved."""
        return self._nanos / NANO

    @property
    def tokens(self) -> int:
        """Returns the tokens, in and out, that are spent or reserved."""
        return self._tokens

    def check(self, spec: ModelSpec) -> None:
        """Raises InputError if dollars are limited and the model's price is not known."""
        if self._max_nanos is not None and price(spec, Usage(1, 1)) is None:
            raise InputError(
                f"--max-dollars needs the price of {spec.name}, which is not known: write it behind"
                " the model in dollars per million tokens, as in MODEL,input=0.5,output=2"
            )

    def check_room(self, spec: ModelSpec, input_tokens: int, output_tokens: int) -> None:
        """Raises InputError if a whole limit is less than one call of this size may take."""
        mend = "raise it, or name a smaller max_output=N behind the model"
        tokens = input_tokens + output_tokens
        if self._max_tokens is not None and tokens > self._max_tokens:
            raise InputError(
                f"--max-tokens {self._max_tokens:,} is less than one call to {spec.name} may take,"
                f" {tokens:,} or more: {mend}"
            )
        nanos = _nanos(worst_price(spec, input_tokens, output_tokens))
        if self._max_nanos is not None and nanos > self._max_nanos:
            raise InputError(
                f"--max-dollars of {_told(self._max_nanos)} is less than one call to {spec.name}"
                f" may cost, {_told(nanos)} or more: {mend}"
            )

    def reserve(self, spec: ModelSpec, input_tokens: int, output_tokens: int) -> Reservation:
        """Holds back the worst case of a call; raises BudgetSpent if it does not fit.

        Blocks while only what others have reserved is in the way.
        """
        self.check(spec)
        dollars = worst_price(spec, input_tokens, output_tokens)
        nanos, tokens = _nanos(dollars), input_tokens + output_tokens
        with self._changed:
            while not self._fits(nanos, tokens) and self._fits(
                nanos - self._held_nanos, tokens - self._held_tokens
            ):
                self._changed.wait()
            spent_nanos = self._nanos - self._held_nanos
            if self._max_nanos is not None and spent_nanos + nanos > self._max_nanos:
                raise BudgetSpent(
                    f"--max-dollars leaves no room: {_told(spent_nanos)} of"
                    f" {_told(self._max_nanos)} are spent, and the next call to {spec.name} may"
                    f" cost {_told(nanos)}: the same command with a larger --max-dollars goes on,"
                    " or, if the prompt leaves room, with max_output=N behind the model"
                )
            spent = self._tokens - self._held_tokens
            if self._max_tokens is not None and spent + tokens > self._max_tokens:
                raise BudgetSpent(
                    f"--max-tokens leaves no room: {spent:,} of {self._max_tokens:,} tokens are"
                    f" spent, and the next call to {spec.name} may take {tokens:,}: the same"
                    " command with a larger --max-tokens goes on, or, if the prompt leaves room,"
                    " with max_output=N behind the model"
                )
            self._hold(nanos, tokens)
        return Reservation(input_tokens, output_tokens, dollars)

    def settle(self, held: Reservation, call: Call) -> None:
        """Puts the call in the place of its reservation, and keeps it."""
        with self._changed:
            self._hold(-_nanos(held.dollars), -held.input_tokens - held.output_tokens)
            self._nanos += _nanos(call.dollars)
            self._tokens += call.input_tokens + call.output_tokens
            self._changed.notify_all()
            self._keep(call)

    def _fits(self, nanos: int, tokens: int) -> bool:
        """Says whether so much more, beside what is spent and reserved, is within the limits."""
        fits_dollars = self._max_nanos is None or self._nanos + nanos <= self._max_nanos
        return fits_dollars and (
            self._max_tokens is None or self._tokens + tokens <= self._max_tokens
        )

    def _hold(self, nanos: int, tokens: int) -> None:
        self._nanos += nanos
        self._tokens += tokens
        self._held_nanos += nanos
        self._held_tokens += tokens


def told_dollars(amount: float | None) -> str:
    """Returns an amount with as many digits as it needs, or that it is not known."""
    return "price unknown" if amount is None else _told(_nanos(amount))


def _told(nanos: int) -> str:
    digits = 4 if nanos == 0 or nanos >= NANO // 10_000 else 9
    return f"${nanos / NANO:,.{digits}f}"


def _nanos(dollars: float | None) -> int:
    return 0 if dollars is None else round(dollars * NANO)


def costs(calls: Iterable[Call]) -> list[CostRow]:
    """Returns one row for each role and model, in alphabetical order."""
    groups: dict[tuple[str, str], list[Call]] = {}
    for call in calls:
        groups.setdefault((call.role, call.model), []).append(call)
    return [
        CostRow(
            role,
            model,
            calls=len(group),
            failed=sum(bool(call.failed) for call in group),
            input_tokens=sum(call.input_tokens for call in group),
            output_tokens=sum(call.output_tokens for call in group),
            seconds=math.fsum(call.seconds for call in group),
            dollars=sum_dollars(group),
            worst_cases=sum(call.is_worst_case for call in group),
            doubts=tuple(dict.fromkeys(call.doubt for call in group if call.doubt)),
        )
        for (role, model), group in sorted(groups.items())
    ]


def sum_dollars(calls: Sequence[Call]) -> float | None:
    """Returns what calls cost together; None if the price of one is not known."""
    if any(call.dollars is None for call in calls):
        return None
    return sum(_nanos(call.dollars) for call in calls) / NANO
