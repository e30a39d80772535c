"""An answer as plain text, without its thoughts and tags; and what it says under its labels."""

import re
from typing import NamedTuple

from move37.research.answers.unusable import FORM, Unusable

_LINE_ENDS = re.compile("\r\n|[\r\u2028\u2029]")
# Zero width, soft hyphens, marks of direction, byte order marks, NUL.
_INVISIBLE = re.compile("[\x00\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_THOUGHT = r"(?:think|thinking|thought|thoughts|reasoning|scratchpad)"


def plain(text: str) -> str:
    """Returns the text with plain line ends and spaces, and with nothing that cannot be seen."""
    if text.isascii() and "\0" not in text:  # as most are: sooner
        return text.replace("\r\n", "\n").replace("\r", "\n")
    return _SPACES.sub(" ", _INVISIBLE.sub("", _LINE_ENDS.sub("\n", encodable(text))))


def encodable(text: str) -> str:
    """Returns the text with pairs of surrogates as their character, and lone ones as a mark."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def without_thoughts(text: str) -> str:
    """Returns what follows the reasoning; raises Unusable if nothing does."""
    if "<" not in text:  # sooner
        return text
    # Only ends are looked for: some endpoints leave out where a thought begins.
    text = re.split(rf"(?i)</{_THOUGHT}>|<\|channel\|>final<\|message\|>", text)[-1]
    text = re.sub(r"<\|[a-z_]+\|>", "", text)
    if opened := re.search(rf"(?im)^[ \t]*<{_THOUGHT}>", text):
        text = text[: opened.start()]
        if not text.strip():
            raise Unusable(f"The answer ended within its reasoning: think less, then {FORM}.")
    return text


def without_tags(text: str) -> str:
    """Returns the text with fences for tags around code, and labels for tags around prose."""
    if "<" not in text and "]]>" not in text:  # sooner
        return text
    parameter = r"<parameter(?:=|\s+name=)[\"']?(\w+)[\"']?\s*>"
    text = _replaced(text, parameter, "</parameter>", r"<\1>\2</\1>")
    text = re.sub(r"(?i)</?pre\b[^<>\n]*>|<!\[CDATA\[|\]\]>", "", text)
    for label in ("name", "motivation", "knowledge"):
        told = rf"\n{label}: \1\n\nend:\n"
        text = _replaced(text, f"(?i:<{label}>)", f"(?i:</{label}>)", told)

    def fenced(tag: re.Match[str]) -> str:
        if "\n" not in tag[2] or "```" in tag[2] or "~~~" in tag[2]:
            return tag[2]
        body = tag[2].strip("\n")
        return f"\n```python\n{body}\n" + ("```\n" if tag[3] else "")

    return re.sub(r"(?is)<(code|program|python|source)\b[^<>\n]*>(.*?)(</\1>|\Z)", fenced, text)


def _replaced(text: str, begins: str, ends: str, by: str) -> str:
    """Returns the text with `by` for two tags and what stands between them."""
    # Behind the last end, each beginning would be followed to the end of the text, in vain.
    last = max((found.end() for found in re.finditer(ends, text)), default=0)
    return re.sub(f"(?s){begins}(.*?){ends}", by, text[:last]) + text[last:]


class Said(NamedTuple):
    """What stands beside a program; empty where nothing is said."""

    name: str
    motivation: str
    knowledge: tuple[str, ...]


_LABEL = re.compile(
    r"^[\s>#*_•-]*(?:(?P<name>(?:mixer |class )?name|mixer)|(?P<motivation>motivation|rationale)"
    r"|(?P<knowledge>knowledge|draws on)|(?P<end>(?:the )?(?:full |complete )?(?:program|code)|end"
    r"|implementation|source|usage|example|notes?))[*_`]*[ \t]*(?:[:：]|$)[*_` \t]*(?P<rest>.*)$",
    re.I,
)


def read_labels(prose: str) -> Said:
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
    return Said(
        camel(told.get("name", "").split("\n")[0]), motivation, ids(told.get("knowledge", ""))
    )


def camel(name: str) -> str:
    """Returns the name as one word, or nothing if it is a sentence rather than a name."""
    words = re.findall(r"[^\W_]+", name)
    if not words or len(words) > 6 or words[0][0].isdigit():
        return ""
    return "".join(word[0].upper() + word[1:] for word in words)[:60]


def ids(told: str) -> tuple[str, ...]:
    """Returns the ids of entries that a line lists, each once."""
    words = re.findall(r"[a-z0-9][\w.-]*\w", told.lower())
    return tuple(dict.fromkeys(word for word in words if word not in ("none", "and")))
