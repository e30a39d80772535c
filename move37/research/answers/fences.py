"""The fenced blocks of an answer, and where code begins and ends without a fence."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from move37.research.answers.objects import objects_in

MOST_BLOCKS = 50


class Block(NamedTuple):
    """A piece of an answer that may be code."""

    text: str
    closed: bool  # the answer goes on after it, hence it is all there
    is_diff: bool = False


# No two parts that may hold the same spaces or tildes stand side by side: a line that is no fence
# would be tried in each way to share them out.
_FENCE = re.compile(
    r"^(?P<indent>(?P<quote>(?:[ \t]*>(?:[ \t]?>)*)?)[ \t]*"
    r"(?:(?:[-*+]|\d+[.)])(?=[ \t`~])[ \t]*)?)"
    r"(?P<mark>`{3,}|~{3,}(?!~))[ \t]*(?P<info>(?:[^` \t\n][^`\n]*)?)$"
)
# A fence on the line of something else: "return y```", "The program: ```python".
_GLUED = re.compile(r"^(?![ \t]*(?:[-*+>]|\d+[.)])[ \t]*`)(.*[^`\s])[ \t]*(`{3,}\w*)[ \t]*$")
_FILE_NAME = re.compile(r"\A\s*(?:[\w./-]+\.py:?|[Pp]ython ?3?)[ \t]*\n")


def read_blocks(text: str) -> tuple[list[Block], str]:
    """Returns the fenced blocks, and the text around them."""
    lines = list(_unglued(text))
    blocks: list[Block] = []
    prose: list[str] = []
    at = 0
    while at < len(lines):
        opened = _fence(lines[at]) if len(blocks) < MOST_BLOCKS else None
        at += 1
        if opened is None:
            prose.append(lines[at - 1])
        elif not opened["info"].lower().startswith(("markdown", "md")):
            end, block = _block(lines, at, opened)
            blocks.append(block)
            prose.append("end:")
            at = end + 1 if block.closed else end
    return blocks, "\n".join(prose)


def _unglued(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        if "```" in line:
            yield from _GLUED.sub(r"\1\n\2", line).split("\n")
        else:
            yield line


def _fence(line: str) -> re.Match[str] | None:
    has_mark = "```" in line or "~~~" in line
    return _FENCE.match(line) if has_mark else None


def _block(lines: Sequence[str], start: int, opened: re.Match[str]) -> tuple[int, Block]:
    """Returns where the block ends, and the block.

    That is the first fence at which it is whole, since a docstring may hold fences too; or else
    the first fence at all.
    """
    is_diff = opened["info"].lower().startswith(("diff", "patch"))
    quote = opened["quote"]
    margin = re.compile(
        rf"{re.escape(quote)} ?" if quote else rf"[ \t]{{0,{len(opened['indent'])}}}"
    )
    found: list[tuple[int, Block]] = []
    for end in range(start, len(lines) + 1):
        fence = _fence(lines[end]) if end < len(lines) else None
        if end < len(lines) and not (fence and fence["mark"].startswith(opened["mark"])):
            continue
        inner = lines[start:end]
        if quote or opened["indent"]:
            inner = [margin.sub("", line, count=1) for line in inner]
        inside = "\n".join(inner)
        closed = fence is not None and not fence["info"].strip()
        found.append((end, Block(_FILE_NAME.sub("", inside), closed, is_diff)))
        if (closed and (is_diff or _is_whole(inside))) or len(found) == 8:
            break
    return found[-1] if found[-1][1].closed and len(found) < 8 else found[0]


def _is_whole(text: str) -> bool:
    if text.lstrip().startswith(("{", "[")):
        return next(objects_in(text), None) is not None
    return text.count('"""') % 2 == text.count("'''") % 2 == 0


# Unindented lines of prose that begin like code are rare enough. As in a fence, no two parts that
# stand side by side may hold the same.
_CODE = re.compile(
    r"[ \t]+(?![-*•] |\d+[.)] )\S|import\s+[\w.,][\w., ]*$|from\s+[\w.]+\s+import\b"
    r"|class\s+\w+\s*[(:]|(?:async\s+)?def\s+\w+\s*\(|(?:for|while|if|elif|with|except)\b.*:\s*$"
    r"|(?:else|try|finally)\s*:|[@)\]}]|#(?!#)|[rRfu]?(?:\"{3}|'{3})"
    r"|[\w.]+(?:\[.*\])?\s*(?::[\w.\[\],\s|]*)?[-+*/|&]?=|[\w.]+\("
)
_START = re.compile(
    r"import\s+\w+(?:\.\w+)*(?:\s+as\s+\w+|,.*)?\s*$|from\s+[\w.]+\s+import\b|class\s+\w+\s*[(:]"
    r"|@\w|\"{3}|'{3}|def\s+\w+\("
)


def without_prose(text: str) -> str:
    """Returns the lines from the first that begins a program to the last that is code."""
    if re.search(r"[\"'](?:program|source|code)[\"']\s*:", text):
        return ""  # JSON that could not be read: its first line of code is lost between quotes
    lines = text.split("\n")
    lines = list(itertools.dropwhile(lambda line: not _START.match(line), lines))
    while lines and not _CODE.match(lines[-1]):
        lines.pop()
    return "\n".join(lines)
