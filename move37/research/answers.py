"""Reads what a language model answered: a program with its motivation, or the reason why not.

Understood: Markdown with a fenced program, JSON and what resembles it, tags, a bare program, edits
of the parent, and the slips that models make in each. Nothing is made up: a program that is cut
off, sketched or ambiguous is refused, in words that the model can act on.
Not looked into: imports, shapes, behaviour; those are the lab's. `move37.lab.loading` decides in
the end what a mixer is; here its rules are read from the text.
"""

import ast
import builtins
import codeop
import difflib
import html
import itertools
import re
import textwrap
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from move37.research.syntax import Parsed, fingerprint, parse, quietly

MOST_LINES = 2_000
MOST_BYTES = 200_000
MOST_BLOCKS = 50
# By which names the layers of others take their width and heads; the same as move37.nn.interop's.
WIDTHS = ("hidden_size", "d_model", "embed_dim", "n_embd", "model_dim", "dim", "width")
HEADS = ("num_heads", "n_heads", "n_head", "nhead")
VOCABULARIES = ("vocab_size", "vocab", "n_vocab", "vocabulary", "num_tokens", "num_embeddings")
OTHER_FRAMEWORKS = ("jax", "flax", "haiku", "equinox", "tensorflow", "keras", "mlx", "paddle")

FORM = "answer with `Name:`, `Motivation:` and one ```python block that holds the complete program"


@dataclass(frozen=True)
class Answer:
    """What a model proposed."""

    name: str  # CamelCase, from the answer or else from the program's class
    motivation: str
    source: str  # the complete program
    knowledge: tuple[str, ...] = ()  # ids of the entries that the answer says it draws on


class Unusable(ValueError):
    """The answer holds no program that could be examined; the text is what the model is told."""


def read_answer(text: str, *, parent: str | None = None, finished: bool = True) -> Answer:
    """Returns the program that an answer proposes; raises Unusable, and nothing else.

    `parent` is the program that edits refer to, and that may not come back unchanged. `finished`
    is False if the endpoint cut the answer off: then only what is closed counts.
    """
    try:
        return _read(_plain(text), _plain(parent or "") or None, finished)
    except RecursionError:
        raise Unusable(f"The answer nests deeper than can be read: {FORM}.") from None


def _read(text: str, parent: str | None, finished: bool) -> Answer:
    text = _without_thoughts(text)
    if not text.strip():
        raise Unusable(f"Expected a program, got an empty answer: {FORM}.")
    if len(text) > 2 * MOST_BYTES:
        raise Unusable(f"The answer has {len(text):,} characters, too many to read: {FORM}.")
    text = _without_tags(text)
    called = ""
    for found in _objects(text):
        if proposal := _proposal_in(found):
            return _of_object(*proposal, parent)
        called = called or _tool_in(found)
    edits, rest = _conflicts(text)
    blocks, prose = _blocks(rest)
    edits += _hunks(blocks, prose)
    drafts = [_draft(block) for block in blocks]
    if not edits and not any(draft.means_a_mixer for draft in drafts):
        code = _without_prose(rest)
        if "\n" in code:  # one line may well be prose that begins like code
            drafts.append(_draft(_Block(code, closed=False)))
            prose = rest.replace(code, "\nend:\n")
    said = _said(prose)
    if edits and all(draft.fault for draft in drafts):
        chosen: _Draft | None = _draft(_Block(_edited(parent, edits, finished), closed=True))
    else:
        chosen = _chosen(drafts, said.name, parent, finished)
    if chosen is None:
        raise Unusable(_why_nothing(text, called, finished))
    if chosen.fault is not None:
        raise Unusable(chosen.fault)
    if parent is not None and fingerprint(chosen.source) == fingerprint(parent):
        raise Unusable(
            "The program is its parent, unchanged but for comments and names: propose a change "
            "to what it computes."
        )
    motivation = said.motivation or _docstring(chosen.source)
    return Answer(said.name or chosen.name, motivation, chosen.source, said.knowledge)


def _why_nothing(text: str, called: str, finished: bool) -> str:
    if called:
        return f"Expected a program, got a call of the tool {called!r} without one: {FORM}."
    if not finished:
        return f"The answer was cut off before its program: think and explain less, then {FORM}."
    if _DECLINES.search(text):
        return f"Expected a program, got a refusal: nothing but a mixer is asked for; {FORM}."
    if _JSON_KEY.search(text):
        return f"Expected a program, got JSON without one that can be read: {FORM}."
    return f"Expected a program, found prose only: {FORM}."


# ---------------------------------------------------------------- plain text

_LINE_ENDS = re.compile("\r\n|[\r\u2028\u2029]")
# Zero width, soft hyphens, marks of direction, byte order marks, NUL.
_INVISIBLE = re.compile("[\x00\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_THOUGHT = r"(?:think|thinking|thought|thoughts|reasoning|scratchpad)"
_DECLINES = re.compile(
    r"(?i)\b(?:I(?:'m| am) (?:sorry|unable|not able)|I (?:can(?:'|’)?t|cannot|won't|must decline)"
    r"|(?:cannot|can't|unable to) (?:help|assist|comply)|as an AI)\b"
)


def _plain(text: str) -> str:
    """Returns the text with plain line ends and spaces, and with nothing that cannot be seen."""
    # Pairs of surrogates become their character, and lone ones a mark that can be encoded.
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _SPACES.sub(" ", _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text)))


def _without_thoughts(text: str) -> str:
    # Only ends are looked for: some endpoints leave out where a thought begins.
    text = re.split(rf"(?i)</{_THOUGHT}>|<\|channel\|>final<\|message\|>", text)[-1]
    text = re.sub(r"<\|[a-z_]+\|>", "", text)
    if opened := re.search(rf"(?im)^[ \t]*<{_THOUGHT}>", text):
        text = text[: opened.start()]
        if not text.strip():
            raise Unusable(f"The answer ended within its reasoning: think less, then {FORM}.")
    return text


def _without_tags(text: str) -> str:
    """Returns the text with fences for tags around code, and labels for tags around prose."""
    if "</parameter>" in text:
        parameter = r"(?s)<parameter(?:=|\s+name=)[\"']?(\w+)[\"']?\s*>(.*?)</parameter>"
        text = re.sub(parameter, r"<\1>\2</\1>", text)
    text = re.sub(r"(?i)</?pre\b[^<>\n]*>|<!\[CDATA\[|\]\]>", "", text)
    for label in ("name", "motivation", "knowledge"):
        if f"</{label}>" not in text.lower():
            continue
        text = re.sub(rf"(?is)<{label}>(.*?)</{label}>", rf"\n{label}: \1\n\nend:\n", text)

    def fenced(tag: re.Match[str]) -> str:
        if "\n" not in tag[2] or "```" in tag[2] or "~~~" in tag[2]:
            return tag[2]
        body = tag[2].strip("\n")
        return f"\n```python\n{body}\n" + ("```\n" if tag[3] else "")

    return re.sub(r"(?is)<(code|program|python|source)\b[^<>\n]*>(.*?)(</\1>|\Z)", fenced, text)


class _Said(NamedTuple):
    name: str
    motivation: str
    knowledge: tuple[str, ...]


_LABEL = re.compile(
    r"^[\s>#*_•-]*(?:(?P<name>(?:mixer |class )?name|mixer)|(?P<motivation>motivation|rationale)"
    r"|(?P<knowledge>knowledge|draws on)|(?P<end>(?:the )?(?:full |complete )?(?:program|code)|end"
    r"|implementation|source|usage|example|notes?))[*_`]*[ \t]*(?:[:：]|$)[*_` \t]*(?P<rest>.*)$",
    re.I,
)


def _said(prose: str) -> _Said:
    """Returns what the prose says under its labels; without labels, all of it is motivation."""
    parts: dict[str, list[str]] = {}
    at = "other"
    for line in prose.split("\n"):
        if label := _LABEL.match(line):
            at = next(key for key in ("name", "motivation", "knowledge", "end") if label[key])
            line = label["rest"]
        parts.setdefault(at, []).append(line.strip())
        if at == "name" and line.strip():
            at = "other"
    told = {key: "\n".join(lines).strip() for key, lines in parts.items()}
    motivation = told.get("motivation") or told.get("other", "")
    return _Said(
        _camel(told.get("name", "").split("\n")[0]), motivation, _ids(told.get("knowledge", ""))
    )


def _camel(name: str) -> str:
    """Returns the name as one word, or nothing if it is a sentence rather than a name."""
    words = re.findall(r"[^\W_]+", name)
    if not words or len(words) > 6 or words[0][0].isdigit():
        return ""
    return "".join(word[0].upper() + word[1:] for word in words)[:60]


def _ids(told: str) -> tuple[str, ...]:
    words = re.findall(r"[a-z0-9][\w.-]*\w", told.lower())
    return tuple(dict.fromkeys(word for word in words if word not in ("none", "and")))


# ---------------------------------------------------------------- JSON, and what resembles it

_PROGRAM_KEYS = ("program", "source", "source_code", "code", "python", "edits", "diff", "patch")
_JSON_KEY = re.compile(
    r"[{\[]\s*(?:(?://|#)[^\n]*\n\s*|/\*[^*]*\*/\s*)*(?:\{\s*)?"
    r"(?:[\"'“`]\w+[\"'”`]|name|motivation|knowledge|program|source|code)\s*:"
)
_TOKEN = re.compile(
    r"(?P<skip>[\s()]+|//[^\n]*|\#[^\n]*|/\*.*?\*/)"
    r"|(?P<string>[rRbBuU]?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}"
    r"|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`|“[^”]*”))"
    r"|(?P<mark>[][{}:,+])"
    r"|(?P<word>[^][\s{}:,+\"'`()“]+)",
    re.S,
)
_PROGRAM_OPENS = re.compile(r"[\"'](?:program|source|source_code|code)[\"']\s*:\s*\"(?!\"\"[^\"])")
_PROGRAM_ENDS = re.compile(r"\"\s*(?:,\s*\"(name|motivation|knowledge)\"\s*:|,?\s*\})")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"} | {c: c for c in "\"'\\/`"}

_Tokens = deque[tuple[str, str]]


def _objects(text: str) -> Iterator[Any]:
    """Yields the objects of the text that have keys of ours, read as leniently as can be."""
    places = [match.start() for match in itertools.islice(_JSON_KEY.finditer(text), 32)]
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
            yield told | {"program": _decoded(text[opened.end() : end], verbatim=False)}


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

    def escape(found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 16))
        return _ESCAPES.get(found[2], found[0])

    once = re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", escape, body)
    readings = [body, once] if verbatim else [once]
    if "\n" in body:
        readings.append(re.sub(r"\\([\"'])", r"\1", body))
    elif "\n" not in once:  # escaped twice
        readings.append(re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", escape, once))
    if "\\" not in body:
        return body
    return next((one for one in readings if _is_python(one)), readings[0])


def _dicts(found: Any) -> Iterator[Mapping[str, Any]]:
    """Yields the objects within a value, also those that are written as text, outermost first."""
    todo = deque([found])
    while todo:
        one = todo.popleft()
        if isinstance(one, str) and one.lstrip().startswith("{") and _JSON_KEY.search(one):
            todo.extend(_objects(one))
        elif isinstance(one, dict):
            yield one
            todo.extend(one.values())
        elif isinstance(one, list):
            todo.extend(one)


def _proposal_in(found: Any) -> tuple[Mapping[str, Any], str] | None:
    """Returns the object that holds a program, and the program."""
    for one in _dicts(found):
        for key in _PROGRAM_KEYS:
            value = one.get(key)
            if isinstance(value, list) and all(isinstance(line, str) for line in value):
                value = "\n".join(line.rstrip("\n") for line in value)
            if isinstance(value, str) and re.search(r"\n|class |import |\w\(", value):
                return one, value
    return None


def _tool_in(found: Any) -> str:
    """Returns the name of the tool that is called, if one is."""
    for one in _dicts(found):
        if one.keys() & {"arguments", "parameters", "input"} and isinstance(one.get("name"), str):
            return str(one["name"])
    return ""


def _of_object(holder: Mapping[str, Any], program: str, parent: str | None) -> Answer:
    answer = _read(_plain(program), parent, finished=True)
    told = {
        key: " ".join(map(str, one)) if isinstance(one, list) else str(one)
        for key, one in holder.items()
    }
    return replace(
        answer,
        name=_camel(told.get("name", "")) or answer.name,
        motivation=told.get("motivation", "").strip() or answer.motivation,
        knowledge=_ids(told.get("knowledge", "")) or answer.knowledge,
    )


_OPENS = re.compile(r"\{\s*(?:(?://|#)[^\n]*\n\s*|/\*[^*]*\*/\s*)*[\"'“`]?\w+[\"'”`]?\s*:")
MOST_CHARACTERS = 40_000  # of an answer without a program


def read_object(text: str, keys: Sequence[str], *, finished: bool = True) -> Mapping[str, Any]:
    """Returns the last object of an answer that has all `keys`; raises Unusable, and nothing else.

    Keys come in lower case; values are texts, lists and objects, as they were written.
    """
    form = f"answer with one JSON object that has {', '.join(map(repr, keys))} and nothing else"
    try:
        text = _without_thoughts(_plain(text))
    except Unusable:
        raise Unusable(f"The answer ended within its reasoning: think less, then {form}.") from None
    if len(text) > MOST_CHARACTERS:
        raise Unusable(f"The answer has {len(text):,} characters, too many to read: {form}.")
    found: Mapping[str, Any] | None = None
    end = 0
    for place in itertools.islice(_OPENS.finditer(text), 32):
        if place.start() < end:
            continue
        try:
            tokens, stop = _tokens(text, place.start())
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


# ---------------------------------------------------------------- fences


class _Block(NamedTuple):
    text: str
    closed: bool  # the answer goes on after it, hence it is all there
    is_diff: bool = False


_FENCE = re.compile(
    r"^(?P<indent>(?P<quote>[ \t]*(?:>[ \t]?)*)(?:(?:[-*+]|\d+[.)])(?=[ \t`~]))?[ \t]*)"
    r"(?P<mark>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)$"
)
# A fence on the line of something else: "return y```", "The program: ```python".
_GLUED = re.compile(r"(?m)^(?![ \t]*(?:[-*+>]|\d+[.)])[ \t]*`)(.*[^`\s])[ \t]*(`{3,}\w*)[ \t]*$")
_FILE_NAME = re.compile(r"\A\s*(?:[\w./-]+\.py:?|[Pp]ython ?3?)[ \t]*\n")


def _blocks(text: str) -> tuple[list[_Block], str]:
    """Returns the fenced blocks, and the text around them."""
    lines = _GLUED.sub(r"\1\n\2", text).split("\n")
    blocks: list[_Block] = []
    prose: list[str] = []
    at = 0
    while at < len(lines):
        opened = _FENCE.match(lines[at]) if len(blocks) < MOST_BLOCKS else None
        at += 1
        if opened is None:
            prose.append(lines[at - 1])
        elif not opened["info"].lower().startswith(("markdown", "md")):
            end, block = _block(lines, at, opened)
            blocks.append(block)
            prose.append("end:")
            at = end + 1 if block.closed else end
    return blocks, "\n".join(prose)


def _block(lines: Sequence[str], start: int, opened: re.Match[str]) -> tuple[int, _Block]:
    """Returns where the block ends, and the block.

    That is the first fence at which it is whole, since a docstring may hold fences too; or else
    the first fence at all.
    """
    is_diff = opened["info"].lower().startswith(("diff", "patch"))
    quote = opened["quote"].rstrip()
    margin = re.compile(
        rf"{re.escape(quote)} ?" if quote else rf"[ \t]{{0,{len(opened['indent'])}}}"
    )
    found: list[tuple[int, _Block]] = []
    for end in range(start, len(lines) + 1):
        fence = _FENCE.match(lines[end]) if end < len(lines) else None
        if end < len(lines) and not (fence and fence["mark"].startswith(opened["mark"])):
            continue
        inner = lines[start:end]
        if quote or opened["indent"]:
            inner = [margin.sub("", line, count=1) for line in inner]
        inside = "\n".join(inner)
        closed = fence is not None and not fence["info"].strip()
        found.append((end, _Block(_FILE_NAME.sub("", inside), closed, is_diff)))
        if (closed and (is_diff or _is_whole(inside))) or len(found) == 8:
            break
    return found[-1] if found[-1][1].closed and len(found) < 8 else found[0]


def _is_whole(text: str) -> bool:
    if text.lstrip().startswith(("{", "[")):
        return next(_objects(text), None) is not None
    return text.count('"""') % 2 == text.count("'''") % 2 == 0


# Unindented lines of prose that begin like code are rare enough.
_CODE = re.compile(
    r"[ \t]+(?![-*•] |\d+[.)] )\S|import\s+[\w., ]+$|from\s+[\w.]+\s+import\b|class\s+\w+\s*[(:]"
    r"|(?:async\s+)?def\s+\w+\s*\(|(?:for|while|if|elif|with|except)\b.*:\s*$"
    r"|(?:else|try|finally)\s*:|[@)\]}]|#(?!#)|[rRfu]?(?:\"{3}|'{3})"
    r"|[\w.]+(?:\[.*\])?(?:\s*:\s*[\w.\[\], |]+)?\s*[-+*/|&]?=|[\w.]+\("
)
_START = re.compile(
    r"import\s+\w+(?:\.\w+)*(?:\s+as\s+\w+|,.*)?\s*$|from\s+[\w.]+\s+import\b|class\s+\w+\s*[(:]"
    r"|@\w|\"{3}|'{3}|def\s+\w+\("
)


def _without_prose(text: str) -> str:
    """Returns the lines from the first that begins a program to the last that is code."""
    if re.search(r"[\"'](?:program|source|code)[\"']\s*:", text):
        return ""  # JSON that could not be read: its first line of code is lost between quotes
    lines = text.split("\n")
    lines = list(itertools.dropwhile(lambda line: not _START.match(line), lines))
    while lines and not _CODE.match(lines[-1]):
        lines.pop()
    return "\n".join(lines)


# ---------------------------------------------------------------- edits of the parent


class _Edit(NamedTuple):
    old: list[str]
    new: list[str]


# No side reaches beyond the next mark, so that a missing one is noticed.
_CONFLICT = re.compile(
    r"^([ \t>]*)<{5,9}(?!<)[^\n]*\n((?:(?![ \t>]*[<=]{5})[^\n]*\n)*)\1={5,9}[ \t]*\n"
    r"((?:(?![ \t>]*[<>]{5})[^\n]*\n)*)\1>{5,9}(?!>)[^\n]*$",
    re.M,
)


def _conflicts(text: str) -> tuple[list[_Edit], str]:
    """Returns the search-and-replace edits, and the text without them."""
    edits = []
    for indent, old, new in _CONFLICT.findall(text):
        sides = (
            [line.removeprefix(indent) for line in side.split("\n")[:-1]] for side in (old, new)
        )
        edits.append(_Edit(*sides))
    rest = _CONFLICT.sub("", text)
    if re.search(r"(?m)^[ \t>]*<{5,9} ?SEARCH\b", rest):
        raise Unusable(
            "An edit has no end: expected <<<<<<< SEARCH, the old lines, =======, the new lines, "
            ">>>>>>> REPLACE, each mark on a line of its own."
        )
    return edits, rest


def _hunks(blocks: Sequence[_Block], prose: str) -> list[_Edit]:
    """Returns the edits of unified diffs."""
    edits = []
    for text, _, is_diff in [*blocks, _Block(prose, closed=False)]:
        if is_diff or re.search(r"(?m)^@@ ", text):
            edits += [edit for edit in _edits_of_diff(text, is_diff) if edit.old]
    return edits


def _edits_of_diff(text: str, is_diff: bool) -> Iterator[_Edit]:
    """Yields one edit for each hunk; a fenced diff may do without the line that opens it."""
    edit = _Edit([], []) if is_diff else None
    blank = 0  # lines at the end that may belong to the prose after the hunk
    for line in [*text.split("\n"), "@@"]:
        if line.startswith(("@@", "--- ", "+++ ", "diff ", "index ")):
            if edit:
                yield _Edit(edit.old[: len(edit.old) - blank], edit.new[: len(edit.new) - blank])
            edit, blank = (_Edit([], []) if line.startswith("@@") or is_diff else None), 0
        elif edit and (not line or line[0] in " +-"):
            blank = 0 if line else blank + 1
            for side, mark in ((edit.old, "+"), (edit.new, "-")):
                if not line.startswith(mark):
                    side.append(line[1:])
        elif edit and not line.startswith("\\"):
            yield _Edit(edit.old[: len(edit.old) - blank], edit.new[: len(edit.new) - blank])
            edit, blank = None, 0


def _edited(parent: str | None, edits: Sequence[_Edit], finished: bool) -> str:
    """Returns the parent after all edits, one after the other."""
    if parent is None:
        raise Unusable(f"The answer edits a program, but there is no parent to edit: {FORM}.")
    if not finished:
        raise Unusable("The answer was cut off after some of its edits: explain less, edit less.")
    lines = parent.split("\n")
    for number, (old, new) in enumerate(edits, 1):
        bare, wanted = [line.rstrip() for line in lines], [line.rstrip() for line in old]
        span = len(wanted)
        starts = [at for at in range(len(bare) - span + 1) if bare[at : at + span] == wanted]
        if not any(wanted):
            raise Unusable(f"Edit {number} names no lines to replace: copy them from the parent.")
        if len(starts) > 1:
            told = ", ".join(str(at + 1) for at in starts[:5])
            raise Unusable(
                f"Edit {number} fits the parent at lines {told}: include more lines around it, "
                "so that only one place fits."
            )
        if not starts:
            raise Unusable(
                f"Edit {number} replaces lines that the parent does not have; "
                f"{_nearest(bare, wanted)}\nCopy the lines exactly, or give the whole program."
            )
        lines[starts[0] : starts[0] + span] = new
    return "\n".join(lines)


def _nearest(lines: Sequence[str], wanted: Sequence[str]) -> str:
    span = min(len(wanted), 12)
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2("\n".join(wanted[:span]))
    best = (-1.0, 0)
    for at in range(max(1, len(lines) - span + 1)):
        matcher.set_seq1("\n".join(lines[at : at + span]))
        if matcher.quick_ratio() > best[0] and (ratio := matcher.ratio()) > best[0]:
            best = (ratio, at)
    passage = "\n".join(lines[best[1] : best[1] + span])
    return f"the nearest are at line {best[1] + 1}:\n{passage}"


# ---------------------------------------------------------------- mending


def _is_python(source: str) -> bool:
    return isinstance(parse(source), Parsed)


_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|#\d{1,6}|#[xX][0-9a-fA-F]{1,5});")
_ASCII = str.maketrans(
    {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    | dict.fromkeys("“”„‟″", '"')
    | dict.fromkeys("‘’‚‛′", "'")
    | dict.fromkeys("‐‑‒–—―−", "-")
    | {"×": "*", "÷": "/", "≤": "<=", "≥": ">=", "≠": "!=", "→": "->", "…": "...", "、": ","}
)
_QUOTED = re.compile(
    r'"{3}.*?"{3}|\'{3}.*?\'{3}|[“”]{3}.*?[“”]{3}|[‘’]{3}.*?[‘’]{3}'
    r'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|[“”][^“”\n]*[“”]|[‘’][^‘’\n]*[‘’]|#[^\n]*',
    re.S,
)


def _mended(source: str) -> str:
    """Returns the source with as many mends as it takes to be Python, or else with all of them."""
    if _is_python(without := _without_entities(source)):
        return without
    for mend in (_without_prefixes, _without_entities, _in_ascii, _without_tabs, textwrap.dedent):
        if _is_python(source):
            break
        source = mend(source)
    return source


def _without_entities(source: str) -> str:
    return _ENTITY.sub(lambda entity: html.unescape(entity[0]).replace("\xa0", " "), source)


def _without_prefixes(source: str) -> str:
    """Returns the lines without a "+", a ">>>" or a line number before each, if each has one."""
    lines = [line for line in source.split("\n") if not line.startswith(("+++ ", "--- ", "@@"))]
    written = [line for line in lines if line.strip()]
    for prefix in (r"\+", r">>>|\.\.\.", r"[ \t]*\d+[ \t]?[|:→.)\t]?"):
        if written and all(re.match(prefix, line) for line in written):
            counts = [int(n[0]) for line in written if (n := re.search(r"\d+", line))]
            if "d" in prefix and sorted(set(counts)) != counts:
                continue
            return textwrap.dedent("\n".join(re.sub(rf"^(?:{prefix})", "", one) for one in lines))
    return source


def _in_ascii(source: str) -> str:
    """Returns the source with plain quotes, dashes and brackets outside of strings and comments."""
    parts, at = [], 0
    for quoted in _QUOTED.finditer(source):
        text = quoted[0]
        width = 3 if len(text) > 5 and text[1] in "\"'“”‘’" and text[2] in "\"'“”‘’" else 1
        if text[0] in "“”‘’":
            mark = ('"' if text[0] in "“”" else "'") * width
            text = f"{mark}{text[width:-width]}{mark}"
        parts += [source[at : quoted.start()].translate(_ASCII), text]
        at = quoted.end()
    return "".join([*parts, source[at:].translate(_ASCII)])


def _without_tabs(source: str) -> str:
    by_four = source.expandtabs(4)
    return by_four if _is_python(by_four) else source.expandtabs(8)


# ---------------------------------------------------------------- which program, and is it one


@dataclass(frozen=True)
class _Draft:
    """A piece of code, and what keeps it from being a mixer's program."""

    raw: str
    source: str
    name: str  # of its mixer
    fault: str | None
    closed: bool

    @property
    def means_a_mixer(self) -> bool:
        return re.search(r"(?m)^[\s\d|:.+>]*class\s+\w+\s*\(.*Module", self.source) is not None


def _draft(block: _Block) -> _Draft:
    source = _mended(block.text)
    if not _is_python(source) and _is_python(bare := _mended(_without_prose(source))):
        source = bare if bare.strip() else source
    source = source.strip("\n") + "\n"
    try:
        return _Draft(block.text, source, _mixer(source), None, block.closed)
    except Unusable as fault:
        return _Draft(block.text, source, "", str(fault), block.closed)


_CODE_AT_ALL = re.compile(r"(?m)^[ \t]*(?:import|from|class|def) ")


def _chosen(
    drafts: Sequence[_Draft], wanted: str, parent: str | None, finished: bool
) -> _Draft | None:
    """Returns the draft that is meant, by its name or as the last; None if there is no code."""
    if not finished and drafts and not drafts[-1].closed:
        raise Unusable(
            "The answer was cut off within its program: explain less, or write a shorter program, "
            "and answer again with all of it."
        )
    serious = [draft for draft in drafts if draft.means_a_mixer]
    if not serious:
        code = [draft for draft in drafts if _CODE_AT_ALL.search(draft.source)]
        return max(code, key=lambda draft: len(draft.source), default=None)
    last = serious[-1]
    if not any(draft.fault is None for draft in serious) and len(drafts) > 1:
        joined = _draft(_Block("\n".join(draft.raw for draft in drafts), last.closed))
        if joined.fault is None:
            return joined
    whole = [draft for draft in serious if draft.fault is None]
    if not whole or not _is_python(last.source):
        return last
    if parent is not None:
        old = fingerprint(parent)
        whole = [draft for draft in whole if fingerprint(draft.source) != old] or whole
    chosen = ([draft for draft in whole if draft.name == wanted] or whole)[-1]
    return _with_helpers(chosen, drafts)


def _with_helpers(chosen: _Draft, drafts: Sequence[_Draft]) -> _Draft:
    """Returns the draft together with the other pieces that define what it lacks."""
    if len(drafts) == 1:
        return chosen
    used = [chosen]
    for _ in drafts:
        missing = _missing("\n".join(draft.source for draft in used))
        helpers = [
            draft
            for draft in drafts
            if draft not in used
            and _is_python(draft.source)
            and _defined(draft.source) & missing
            and chosen.name not in draft.source  # else it uses the mixer: an example
        ]
        if not helpers:
            break
        used.append(helpers[0])
    if len(used) == 1:
        return chosen
    joined = "\n\n".join(draft.source for draft in drafts if draft in used)
    future = re.findall(r"(?m)^from __future__ import .*\n", joined)
    joined = "".join(dict.fromkeys(future)) + re.sub(r"(?m)^from __future__ .*\n", "", joined)
    return _draft(_Block(joined, chosen.closed))


def _program(source: str) -> Parsed:
    program = parse(source)
    assert isinstance(program, Parsed)
    return program


_BINDS = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.ExceptHandler,
)


def _missing(source: str) -> set[str]:
    """Returns the names that are used and bound nowhere, whatever the scope."""
    bound, used = set(dir(builtins)), set[str]()
    for node in ast.walk(_program(source).tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, _BINDS):
            bound |= _bound(node)
    return used - bound


def _defined(source: str) -> set[str]:
    names = set[str]()
    for node in _program(source).tree.body:
        names |= _bound(node)
        targets = node.targets if isinstance(node, ast.Assign) else []
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def _bound(node: ast.AST) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.split(".")[0] for alias in node.names}
    return {node.name} if isinstance(node, ast.ExceptHandler) and node.name else set()


def _docstring(source: str) -> str:
    tree = _program(source).tree
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    told = [ast.get_docstring(tree), *(ast.get_docstring(one) for one in classes)]
    return next((text for text in told if text), "")


def _mixer(source: str) -> str:
    """Returns the name of the program's mixer; raises Unusable if it is no such program."""
    lines, size = source.count("\n"), len(source.encode())
    if lines > MOST_LINES or size > MOST_BYTES:
        raise Unusable(
            f"The program has {lines:,} lines and {size:,} bytes, at most {MOST_LINES:,} and "
            f"{MOST_BYTES:,} are read: write one mixer, and no more."
        )
    program = parse(source)
    if isinstance(program, SyntaxError):
        raise Unusable(_told(program, source))
    tree = program.tree
    aliases = _aliases(program)
    _check_framework(aliases)
    _check_elisions(source)
    modules = _modules(tree, aliases)
    name = _only(modules)
    _check_training(tree)
    _check_bodies(source, modules, name)
    return name


def _told(error: SyntaxError, source: str) -> str:
    lines = source.rstrip().split("\n")
    line = min(max(error.lineno or 1, 1), len(lines))
    what = f"line {line} ({error.msg}): {lines[line - 1].strip()[:120]}"
    try:
        with quietly():
            cut = line == len(lines) or codeop.compile_command(source, symbol="exec") is None
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        cut = False
    if cut:
        return (
            f"The program ends in the middle of {what}\nAnswer again with all of it; a shorter "
            "program or explanation leaves more room."
        )
    return f"The program has a syntax error in {what}\nAnswer with the complete program, corrected."


def _check_framework(aliases: Mapping[str, str]) -> None:
    for name in aliases.values():
        if (framework := name.split(".")[0]) in OTHER_FRAMEWORKS:
            raise Unusable(f"Expected PyTorch, got a program for {framework}: write it with torch.")


_ELISION = re.compile(
    r"(?im)^[ \t]*#[ \t]*(?:(?:\.{3}|…)[ \t]*$|(?:\.{3}|…)?.*\b(?:"
    r"(?:rest|remainder) of (?:the |your )?(?:\w+ )?"
    r"(?:code|program|class|implementation|file|methods?)\b"
    r"|(?:existing|previous|other|remaining|unchanged) (?:code|methods?|implementation)\b[^,;\n]*$"
    r"|(?:your |the )?(?:code|implementation|logic) (?:goes |omitted |continues )?here\b"
    r"|(?:omitted|elided) for (?:brevity|clarity|space)\b)"
    r"|(?:\.{3}|…).*\b(?:same|unchanged|as before|omitted|rest|remaining|continues)\b"
    r"|.*\b(?:same|unchanged|as before|omitted|rest|remaining|continues)\b.*(?:\.{3}|…)[ \t]*$)"
)
# What one of these has to hold: most comments do not, which is found sooner.
_HINT = re.compile(
    r"(?i)\.{3}|…|rest|remain|exist|previous|other|unchanged|here|omit|elided|same|before|continue"
)
_TODO = re.compile(r"(?i)#\s*(?:todo|fixme|placeholder|implement)\b")


def _check_elisions(source: str) -> None:
    for number, line in enumerate(source.split("\n"), 1):
        if not line.lstrip(" \t").startswith("#") or not _HINT.search(line):
            continue
        if found := _ELISION.match(line):
            raise Unusable(
                f"Line {number} stands for code that is left out: {found[0].strip()[:120]}\n"
                "Nothing can be filled in here; write the program out."
            )


def _check_training(tree: ast.Module) -> None:
    for node in _run_at_import(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("backward", "optim"):
            raise Unusable(
                f"Line {node.lineno} trains something: expected a file with one mixer only, which "
                "is trained elsewhere; leave the training out."
            )


def _run_at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """Yields, in their order, the nodes outside of functions, classes and `__main__` blocks."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
            continue
        if not isinstance(node, _Function | ast.ClassDef | ast.Lambda):
            todo += reversed(list(ast.iter_child_nodes(node)))


_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Methods = dict[str, _Function | None]  # own and inherited; None: not a plain function


def _aliases(program: Parsed) -> dict[str, str]:
    """Returns what the imported names stand for: nn -> torch.nn."""
    names = {}
    for whole in program.of(ast.Import):
        for alias in whole.names:
            head = alias.name.split(".")[0]
            names[alias.asname or head] = alias.name if alias.asname else head
    for part in program.of(ast.ImportFrom):
        for alias in part.names:
            names[alias.asname or alias.name] = f"{part.module or ''}.{alias.name}"
    return names


def _modules(tree: ast.Module, aliases: Mapping[str, str]) -> dict[str, _Methods]:
    """Returns the nn.Module classes of a program with their methods."""
    modules: dict[str, _Methods] = {}
    for node in _run_at_import(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        bases = [ast.unparse(base) for base in node.bases]
        heads = {base: base.split(".")[0] for base in bases}
        full = [aliases.get(heads[one], heads[one]) + one[len(heads[one]) :] for one in bases]
        known = any(base in modules for base in bases)
        if not known and not any(re.fullmatch(r"(?:.*\.)?Module|torch\.nn\..*", b) for b in full):
            continue
        methods: _Methods = {}
        for base in reversed(bases):
            methods |= modules.get(base, {})
        for line in node.body:
            if isinstance(line, _Function):
                methods[line.name] = line
            elif isinstance(line, ast.Assign):
                methods |= {one.id: None for one in line.targets if isinstance(one, ast.Name)}
        modules[node.name] = methods
    return modules


def _takes(methods: _Methods, method: str, *names: str) -> bool:
    function = methods.get(method)
    if function is None:
        return False
    given = function.args
    return any(one.arg in names for one in [*given.posonlyargs, *given.args, *given.kwonlyargs])


def _only(modules: Mapping[str, _Methods]) -> str:
    """Returns the mixer among the classes, by the rules of `move37.lab.loading`."""
    interface = "with __init__(self, dim, *, heads)"
    public = {name: one for name, one in modules.items() if not name.startswith("_")}
    if not public:
        hidden = f", only {', '.join(modules)}, whose underscore hides it" if modules else ""
        raise Unusable(
            f"Expected one public nn.Module class {interface}, found none{hidden}: {FORM}."
        )
    found = [name for name, one in public.items() if _takes(one, "__init__", "heads")]
    others = [] if found else [n for n, one in public.items() if _takes(one, "__init__", *WIDTHS)]
    for method, names in (("__init__", HEADS), ("forward", ("attention_mask", "past_key_values"))):
        if len(others) > 1:
            others = [n for n in others if _takes(public[n], method, *names)] or others
    found = found or others
    if any(_takes(public[name], "__init__", *VOCABULARIES) for name in found or public):
        raise Unusable(
            "Expected a mixer, got a whole language model: leave out embedding, blocks and head, "
            f"and give one nn.Module class {interface} that maps (B, T, D) to (B, T, D)."
        )
    if not found:
        raise Unusable(
            f"Expected one nn.Module class {interface}; the constructors of {', '.join(public)} "
            "take neither `heads` nor a width: give the mixer this interface."
        )
    if len(found) > 1:
        raise Unusable(
            f"Expected one mixer, found {', '.join(found)}: keep one, or give the classes that "
            "help it a leading underscore."
        )
    return found[0]


def _check_bodies(source: str, modules: Mapping[str, _Methods], name: str) -> None:
    """Raises Unusable if the mixer or what helps it is sketched only."""
    if "forward" not in modules[name]:
        raise Unusable(f"{name} has no forward: {FORM}.")
    lines = source.split("\n")
    for kind, methods in modules.items():
        for method, function in methods.items():
            overridden = any(one.get(method, function) is not function for one in modules.values())
            if function and (kind == name or not overridden) and _is_sketched(function, lines):
                raise Unusable(
                    f"{kind}.{method} (line {function.lineno}) is a placeholder: write it out; "
                    "a method that is not offered is left out altogether."
                )
    for node in _program(source).tree.body:
        if isinstance(node, _Function) and _is_sketched(node, lines):
            raise Unusable(f"{node.name} (line {node.lineno}) is a placeholder: write it out.")


def _is_sketched(function: _Function, lines: Sequence[str]) -> bool:
    if any(re.search("overload|abstract", ast.unparse(one)) for one in function.decorator_list):
        return False
    body = function.body[ast.get_docstring(function) is not None :]
    text = "\n".join(lines[function.lineno - 1 : function.end_lineno])
    if not body or (len(body) == 1 and isinstance(body[0], ast.Pass)):
        needed = function.name in ("forward", "step", "initial_state")
        return needed or _TODO.search(text) is not None
    first = body[0]
    if isinstance(first, ast.Expr) and getattr(first.value, "value", None) is ...:
        return True
    if isinstance(first, ast.Raise) and first.exc is not None:
        raised = first.exc.func if isinstance(first.exc, ast.Call) else first.exc
        if isinstance(raised, ast.Name) and raised.id.startswith("NotImplementedError"):
            return True
    return len(body) == 1 and _TODO.search(text) is not None
