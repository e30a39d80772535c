"""Edits of the parent: search and replace, and unified diffs."""

import difflib
import heapq
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from move37.research.answers.fences import Block
from move37.research.answers.unusable import FORM, Unusable


class Edit(NamedTuple):
    """Lines of the parent, and those that take their place."""

    old: list[str]
    new: list[str]


# No side reaches beyond the next mark, so that a missing one is noticed.
_CONFLICT = re.compile(
    r"^([ \t>]*)<{5,9}(?!<)[^\n]*\n((?:(?![ \t>]*[<=]{5})[^\n]*\n)*)\1={5,9}[ \t]*\n"
    r"((?:(?![ \t>]*[<>]{5})[^\n]*\n)*)\1>{5,9}(?!>)[^\n]*$",
    re.M,
)


def read_conflicts(text: str) -> tuple[list[Edit], str]:
    """Returns the search-and-replace edits, and the text without them; raises Unusable."""
    if "<<<<<" not in text:  # sooner
        return [], text
    edits = []
    for indent, old, new in _CONFLICT.findall(text):
        sides = (
            [line.removeprefix(indent) for line in side.split("\n")[:-1]] for side in (old, new)
        )
        edits.append(Edit(*sides))
    rest = _CONFLICT.sub("", text)
    if re.search(r"(?m)^[ \t>]*<{5,9} ?SEARCH\b", rest):
        raise Unusable(
            "An edit has no end: expected <<<<<<< SEARCH, the old lines, =======, the new lines, "
            ">>>>>>> REPLACE, each mark on a line of its own."
        )
    return edits, rest


def read_hunks(blocks: Sequence[Block], prose: str) -> list[Edit]:
    """Returns the edits of unified diffs."""
    edits = []
    for text, _, is_diff in [*blocks, Block(prose, closed=False)]:
        if is_diff or ("@@ " in text and re.search(r"(?m)^@@ ", text)):
            edits += [edit for edit in _edits_of_diff(text, is_diff) if edit.old]
    return edits


def _edits_of_diff(text: str, is_diff: bool) -> Iterator[Edit]:
    """Yields one edit for each hunk; a fenced diff may do without the line that opens it."""
    edit = Edit([], []) if is_diff else None
    blank = 0  # lines at the end that may belong to the prose after the hunk
    for line in [*text.split("\n"), "@@"]:
        if line.startswith(("@@", "--- ", "+++ ", "diff ", "index ")):
            if edit:
                yield Edit(edit.old[: len(edit.old) - blank], edit.new[: len(edit.new) - blank])
            edit, blank = (Edit([], []) if line.startswith("@@") or is_diff else None), 0
        elif edit and (not line or line[0] in " +-"):
            blank = 0 if line else blank + 1
            for side, mark in ((edit.old, "+"), (edit.new, "-")):
                if not line.startswith(mark):
                    side.append(line[1:])
        elif edit and not line.startswith("\\"):
            yield Edit(edit.old[: len(edit.old) - blank], edit.new[: len(edit.new) - blank])
            edit, blank = None, 0


def edited(parent: str | None, edits: Sequence[Edit], finished: bool) -> str:
    """Returns the parent after all edits, one after the other; raises Unusable."""
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
    # What is compared letter by letter takes the cube of its length: so neither long texts, nor
    # more of them than those that have the most letters in common.
    span, longest, most = min(len(wanted), 12), 400, 8
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2("\n".join(wanted[:span])[:longest])

    def likeness(at: int, *, quick: bool) -> float:
        matcher.set_seq1("\n".join(lines[at : at + span])[:longest])
        return matcher.quick_ratio() if quick else matcher.ratio()

    places = range(max(1, len(lines) - span + 1))
    likely = heapq.nlargest(most, places, key=lambda at: likeness(at, quick=True))
    best = max(likely, key=lambda at: likeness(at, quick=False))
    passage = "\n".join(lines[best : best + span])
    return f"the nearest are at line {best + 1}:\n{passage}"
