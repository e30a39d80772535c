"""Which numbers of a provider are believed. Each is bounded here before anything computes with it.

    number                                  believed                        otherwise
    count of tokens, in the usage           a whole number, 0 or more       the worst case of the
      input                                 up to 10 times the estimate     call is booked, and the
                                            of the request, and 10,000      call says why
      output                                up to 1,000,000; not 0 where
                                            there is a text
    seconds to wait, in a header            0 to a year                     as if it were not there
    tokens, in the message of an error      1 to 1,000,000,000              as if it were not there
    any other number in the JSON            finite, at most 2**53 in size   0

The bounds are what is possible, not what is likely: a count that is refused is booked at the worst
case of the call, which is less. JSON nests at most 100 deep; what is deeper becomes null.

Not covered: a count that is wrong, but possible.
"""

import json
import math
from typing import Any

MOST_WAIT_SECONDS = 366 * 86_400.0
MOST_LIMIT_TOKENS = 1_000_000_000
MOST_OUTPUT_TOKENS = 1_000_000  # of one answer
# A request is estimated from above, but an endpoint may put a long text of its own before it.
INPUT_OVER_ESTIMATE = 10
HIDDEN_INPUT_TOKENS = 10_000
MOST_DOLLARS_PER_MILLION = 1_000_000.0  # tokens
MOST_DOLLARS = 1e9
MOST_TOKENS = 10**15  # of a limit for a whole run
MOST_WEIGHT = 1e6

_MOST_NUMBER = 2**53  # up to here each whole number is a float as well
_MOST_DIGITS = 18  # of a number that is converted at all: Python refuses one of more than 4,300
_MOST_DEPTH = 100
_USAGE_KEYS = ("usage", "usageMetadata", "usage_metadata")
_MAIN_COUNTS = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "input_tokens",
    "output_tokens",
)
_WHOLE_KEYS = ("index", "created", "created_at")


class _Oversized:
    """Stands for a number that is not converted."""

    def __init__(self, description: str) -> None:
        self.description = description


def token_limit(digits: str) -> int | None:
    """Returns the number of tokens that an error names; None if no model has such a limit."""
    if len(digits) > _MOST_DIGITS:
        return None
    tokens = int(digits)
    return tokens if 1 <= tokens <= MOST_LIMIT_TOKENS else None


def wait_seconds(seconds: float | None) -> float | None:
    """Returns how long an answer asks to wait; None if it is not said, or not believed."""
    if seconds is None or not 0 <= seconds <= MOST_WAIT_SECONDS:  # NaN is not either
        return None
    return seconds


def count_fault(
    input_tokens: int, output_tokens: int, *, estimated_input_tokens: int, has_text: bool
) -> str:
    """Returns why the counts of one call are not believed; "" if they are."""
    most_input = INPUT_OVER_ESTIMATE * estimated_input_tokens + HIDDEN_INPUT_TOKENS
    for name, count, least, most in (
        ("input", input_tokens, 1, most_input),
        ("output", output_tokens, 1 if has_text else 0, MOST_OUTPUT_TOKENS),
    ):
        if not least <= count <= most:
            return f"expected {least:,} to {most:,} tokens of {name}, got {_shown(count)}"
    return ""


def bounded_json(body: bytes) -> tuple[bytes, str]:
    """Returns the body of an answer with its numbers bounded, and why its usage is not believed.

    The reason is "" where the usage can be read. A body that is not JSON comes back as it is.
    """
    try:
        data = json.loads(
            body, parse_int=_parse_int, parse_float=_parse_float, parse_constant=_Oversized
        )
    except (ValueError, RecursionError):
        return body, ""
    bounded, is_changed, fault = _bounded(data)
    return (json.dumps(bounded).encode() if is_changed else body), fault


def _parse_int(digits: str) -> int | _Oversized:
    if len(digits) <= _MOST_DIGITS and abs(number := int(digits)) <= _MOST_NUMBER:
        return number
    return _Oversized(f"a number of {len(digits.lstrip('-')):,} digits")


def _parse_float(text: str) -> float | _Oversized:
    number = float(text)
    return number if abs(number) <= _MOST_NUMBER else _Oversized("a number beyond 2**53")


def _bounded(data: Any) -> tuple[Any, bool, str]:
    """Returns the data, whether something in it was replaced, and the first fault of its usage."""
    root = [data]
    is_changed, fault = False, ""
    # Without recursion: a container, how deep its items are, and the key of the usage it belongs
    # to; None outside of the usage.
    pending: list[tuple[Any, int, str | None]] = [(root, 0, None)]
    while pending:
        container, depth, usage_key = pending.pop()
        items = container.items() if isinstance(container, dict) else enumerate(container)
        for place, item in list(items):
            key = place if isinstance(place, str) else usage_key or ""
            in_usage = usage_key is not None or (depth == 1 and key in _USAGE_KEYS)
            if in_usage:
                kept, reason = _bounded_usage(key, item)
                fault = fault or reason
            else:
                kept = _bounded_number(key, item)
            if isinstance(kept, dict | list):
                if depth == _MOST_DEPTH:
                    kept = None
                else:
                    pending.append((kept, depth + 1, key if in_usage else None))
            if kept is not item:
                container[place] = kept
                is_changed = True
    return root[0], is_changed, fault


def _bounded_number(key: str, item: Any) -> Any:
    """Returns the item, or 0 in the place of a number that is not believed."""
    if isinstance(item, _Oversized):
        return 0
    # Nothing computes with these, but the libraries refuse an answer in which they are not whole.
    is_whole = isinstance(item, int | float) and float(item).is_integer()
    return item if key not in _WHOLE_KEYS or is_whole else 0


def _bounded_usage(key: str, item: Any) -> tuple[Any, str]:
    """Returns an item of the usage, or what stands for it, and why it is not believed or ""."""
    if key in _USAGE_KEYS:
        if isinstance(item, dict) and item:
            return item, ""
        reason = "" if item is None or item == {} else f"expected counts, got {_shown(item)}"
        return (None if item is None else dict.fromkeys(_MAIN_COUNTS, 0)), reason
    name = key.lower()
    if "token" not in name:
        return _bounded_number(key, item), ""  # dollars, seconds and the like are not read
    if "detail" in name:
        if item is None or isinstance(item, dict | list):
            return item, ""
        return None, f"expected details in {key}, got {_shown(item)}"
    if item is None:
        return (0 if key in _MAIN_COUNTS else None), ""
    if type(item) is int and item >= 0:
        return item, ""
    return 0, f"expected a whole number of tokens in {key}, got {_shown(item)}"


def _shown(value: Any) -> str:
    """Describes a value in a few characters, whatever it is."""
    if isinstance(value, _Oversized):
        return value.description
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) > _MOST_NUMBER:
        return "a number beyond 2**53"
    if isinstance(value, int | float):
        return f"{value:,}" if math.isfinite(value) else "no finite number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "an object"
