"""JSON, and what resembles it, read as leniently as can be.

Comments, single and triple quotes, keys without quotes, trailing commas, text that is joined by
"+", escapes that are doubled or missing.
"""

import functools
import itertools
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from move37.research.answers.mending import is_python
from move37.research.answers.prose import plain, without_thoughts
from move37.research.answers.unusable import Unusable

_PROGRAM_KEYS = ("program", "source", "source_code", "code", "python", "edits", "diff", "patch")
_KEY = re.compile(
    r"\s*(?:\{\s*)?(?:[\"'“`]\w+[\"'”`]|name|motivation|knowledge|program|source|code)\s*:"
)
_ANY_KEY = re.compile(r"\s*[\"'“`]?\w+[\"'”`]?\s*:")
_COMMENT = re.compile(r"\s*(//|#|/\*)")
_TOKEN = re.compile(
    r"(?P<skip>[\s()]+|//[^\n]*|\#[^\n]*|/\*.*?(?:\*/|\Z))"
    r"|(?P<string>[rRbBuU]?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}"
    r"|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`|“[^”]*”))"
    r"|(?P<mark>[][{}:,+])"
    r"|(?P<word>[^][\s{}:,+\"'`()“]+)",
    re.S,
)
_PROGRAM_OPENS = re.compile(r"[\"'](?:program|source|source_code|code)[\"']\s*:\s*\"(?!\"\"[^\"])")
_PROGRAM_ENDS = re.compile(r"\"\s*(?:,\s*\"(name|motivation|knowledge)\"\s*:|(?:,\s*)?\})")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"} | {c: c for c in "\"'\\/`"}

_Tokens = deque[tuple[str, str]]


def objects_in(text: str) -> Iterator[Any]:
    """Yields the objects of the text that have keys of ours, read as leniently as can be."""
    places = list(itertools.islice(_openings(text, "{[", _KEY), 32))
    end, read, failed = 0, 0, 0
    for place in places:
        if place < end or failed == 4:
            continue
        try:
            tokens, end = _tokens(text, place)
            value = _value(tokens)
        except (LookupError, ValueError):
            failed += 1
            continue
        read += 1
        yield value
    if places and not read and (opened := _PROGRAM_OPENS.search(text, places[0])):
        # A program with quotes that are not escaped ends where the next key or the object does.
        ends = list(_PROGRAM_ENDS.finditer(text, opened.end()))
        if ends:
            end = next((one for one in ends if one[1]), ends[-1]).start()
            around = text[: opened.start()] + text[end:]
            told = dict(re.findall(r"\"(name|motivation)\"\s*:\s*\"((?:\\.|[^\"\\])*)\"", around))
            told = {key: _decoded(value, verbatim=False) for key, value in told.items()}
            yield told | {"program": _decoded(text[opened.end() : end], verbatim=False)}


def has_keys(text: str) -> bool:
    """Says whether something in the text begins like an object with keys."""
    return next(_openings(text, "{[", _KEY), None) is not None


def _openings(text: str, brackets: str, key: re.Pattern[str]) -> Iterator[int]:
    """Yields the places of the brackets behind which, after spaces and comments, a key stands."""

    @functools.cache
    def places(mark: str) -> list[int]:
        return [found.start() for found in re.finditer(re.escape(mark), text)]

    # place -> where the key that is next there ends; 0: none is. What follows a comment is looked
    # at once, however many brackets it holds: "{#{#{#" would take the square of its length.
    known: dict[int, int] = {}
    behind = 0  # the last key
    for bracket in re.finditer(f"[{re.escape(brackets)}]", text):
        if bracket.start() < behind:
            continue
        at, passed = bracket.end(), list[int]()
        while at not in known:
            passed.append(at)
            comment = _COMMENT.match(text, at)
            is_line = comment is None or comment[1] != "/*"
            ends = places("\n" if is_line else "*") if comment else []
            nearest = bisect_left(ends, comment.end()) if comment else 0
            if nearest == len(ends) or not (is_line or text.startswith("*/", ends[nearest])):
                found = key.match(text, at)
                known[at] = found.end() if found else 0
            else:
                at = ends[nearest] + (1 if is_line else 2)
        known |= dict.fromkeys(passed, known[at])
        if known[at]:
            behind = known[at]
            yield bracket.start()


def _tokens(text: str, at: int) -> tuple[_Tokens, int]:
    tokens: _Tokens = deque()
    depth = 0
    while not tokens or depth > 0:
        token = _TOKEN.match(text, at)
        if token is None:
            raise ValueError("the text ends within the object")
        at = token.end()
        if token.lastgroup != "skip":
            tokens.append((str(token.lastgroup), token[0]))
        if token.lastgroup == "mark":
            depth += (token[0] in "{[") - (token[0] in "}]")
    return tokens, at


def _value(tokens: _Tokens) -> Any:
    """Takes one value; raises LookupError or ValueError if there is none."""
    kind, token = tokens.popleft()
    if token in ("{", "["):
        items: list[Any] = []
        while tokens[0] not in (("mark", "}"), ("mark", "]")):
            if tokens[0][1] == ",":
                tokens.popleft()
                continue
            item = _value(tokens)
            if token == "{":
                if tokens.popleft()[1] != ":":
                    raise ValueError("a key without a value")
                item = (str(item), _value(tokens))
            items.append(item)
        tokens.popleft()
        return dict(items) if token == "{" else items
    if kind == "mark":
        raise ValueError(f"unexpected {token}")
    if kind == "word":
        return token
    text = _string(token)
    while tokens and (tokens[0][0] == "string" or (tokens[0][1] == "+" and len(tokens) > 1)):
        kind, token = tokens.popleft()
        text += _string(token) if kind == "string" else ""
    return text


def _string(token: str) -> str:
    prefix = len(token) - len(token.lstrip("rRbBuU"))
    width = 3 if token[prefix : prefix + 3] in ('"""', "'''") else 1
    body = token[prefix + width : -width]
    return _decoded(body, verbatim=width == 3 or token[prefix] == "`" or "r" in token[:prefix])


def _decoded(body: str, verbatim: bool) -> str:
    """Returns the string that a body stands for; of several readings, the one that is Python."""
    if "\\" not in body:
        return body
    once = _unescaped(body)
    readings = [body, once] if verbatim else [once]
    if "\n" in body:
        readings.append(re.sub(r"\\([\"'])", r"\1", body))
    elif "\n" not in once:  # escaped twice
        readings.append(_unescaped(once))
    return next((one for one in readings if is_python(one)), readings[0])


def _unescaped(body: str) -> str:
    """Returns the text that is meant, plain: as if no character had been written as an escape."""

    def escape(found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 16))
        return _ESCAPES.get(found[2], found[0])

    return plain(_ESCAPE.sub(escape, body))


def _dicts(found: Any) -> Iterator[Mapping[str, Any]]:
    """Yields the objects within a value, also those that are written as text, outermost first."""
    todo = deque([found])
    while todo:
        one = todo.popleft()
        if isinstance(one, str) and one.lstrip().startswith("{"):
            todo.extend(objects_in(one))
        elif isinstance(one, dict):
            yield one
            todo.extend(one.values())
        elif isinstance(one, list):
            todo.extend(one)


def proposal_in(found: Any) -> tuple[Mapping[str, Any], str] | None:
    """Returns the object that holds a program, and the program."""
    for one in _dicts(found):
        for key in _PROGRAM_KEYS:
            value = one.get(key)
            if isinstance(value, list) and all(isinstance(line, str) for line in value):
                value = "\n".join(line.rstrip("\n") for line in value)
            if isinstance(value, str) and re.search(r"\n|class |import |\w\(", value):
                return one, value
    return None


def tool_in(found: Any) -> str:
    """Returns the name of the tool that is called, if one is."""
    for one in _dicts(found):
        if one.keys() & {"arguments", "parameters", "input"} and isinstance(one.get("name"), str):
            return str(one["name"])
    return ""


MOST_CHARACTERS = 40_000  # of an answer without a program


def read_object(text: str, keys: Sequence[str], *, finished: bool = True) -> Mapping[str, Any]:
    """Returns the last object of an answer that has all `keys`; raises Unusable, and nothing else.

    Keys come in lower case; values are texts, lists and objects, as they were written.
    """
    form = f"answer with one JSON object that has {', '.join(map(repr, keys))} and nothing else"
    try:
        text = without_thoughts(plain(text))
    except Unusable:
        raise Unusable(f"The answer ended within its reasoning: think less, then {form}.") from None
    if len(text) > MOST_CHARACTERS:
        raise Unusable(f"The answer has {len(text):,} characters, too many to read: {form}.")
    found: Mapping[str, Any] | None = None
    end = 0
    for place in itertools.islice(_openings(text, "{", _ANY_KEY), 32):
        if place < end:
            continue
        try:
            tokens, stop = _tokens(text, place)
            value = _value(tokens)
            for one in _dicts(value):
                lowered = {key.strip().lower(): item for key, item in one.items()}
                found = lowered if lowered.keys() >= set(keys) else found
        except (LookupError, ValueError, RecursionError):
            continue
        end = stop
    if found is None:
        why = "cut off before its end" if not finished else "none that can be read"
        raise Unusable(f"Expected an object, got {why}: {form}.")
    return found
