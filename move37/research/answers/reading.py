"""Reads an answer: a program with its motivation, or the reason why there is none."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from move37.research.answers.drafts import Draft, choose, docstring, draft_of
from move37.research.answers.edits import edited, read_conflicts, read_hunks
from move37.research.answers.fences import Block, read_blocks, without_prose
from move37.research.answers.form import MOST_BYTES
from move37.research.answers.objects import has_keys, objects_in, proposal_in, tool_in
from move37.research.answers.prose import (
    camel,
    ids,
    plain,
    read_labels,
    without_tags,
    without_thoughts,
)
from move37.research.answers.unusable import FORM, Unusable
from move37.research.syntax import fingerprint, forget_trees

_DECLINES = re.compile(
    r"(?i)\b(?:I(?:'m| am) (?:sorry|unable|not able)|I (?:can(?:'|’)?t|cannot|won't|must decline)"
    r"|(?:cannot|can't|unable to) (?:help|assist|comply)|as an AI)\b"
)


@dataclass(frozen=True)
class Answer:
    """What a model proposed."""

    name: str  # CamelCase, from the answer or else from the program's class
    motivation: str
    source: str  # the complete program
    knowledge: tuple[str, ...] = ()  # ids of the entries that the answer says it draws on


def read_answer(text: str, *, parent: str | None = None, finished: bool = True) -> Answer:
    """Returns the program that an answer proposes; raises Unusable, and nothing else.

    `parent` is the program that edits refer to, and that may not come back unchanged. `finished`
    is False if the endpoint cut the answer off: then only what is closed counts.
    """
    try:
        return _read(plain(text), plain(parent or "") or None, finished)
    except RecursionError:
        raise Unusable(f"The answer nests deeper than can be read: {FORM}.") from None
    finally:
        forget_trees()


def _read(text: str, parent: str | None, finished: bool) -> Answer:
    text = without_thoughts(text)
    if not text.strip():
        raise Unusable(f"Expected a program, got an empty answer: {FORM}.")
    if len(text) > 2 * MOST_BYTES:
        raise Unusable(f"The answer has {len(text):,} characters, too many to read: {FORM}.")
    text = without_tags(text)
    called = ""
    for found in objects_in(text):
        if proposal := proposal_in(found):
            return _of_object(*proposal, parent)
        called = called or tool_in(found)
    edits, rest = read_conflicts(text)
    blocks, prose = read_blocks(rest)
    edits += read_hunks(blocks, prose)
    drafts = [draft_of(block) for block in blocks]
    if not edits and not any(draft.means_a_mixer for draft in drafts):
        code = without_prose(rest)
        if "\n" in code:  # one line may well be prose that begins like code
            drafts.append(draft_of(Block(code, closed=False)))
            prose = rest.replace(code, "\nend:\n")
    said = read_labels(prose)
    if edits and all(draft.fault for draft in drafts):
        chosen: Draft | None = draft_of(Block(edited(parent, edits, finished), closed=True))
    else:
        chosen = choose(drafts, said.name, parent, finished)
    if chosen is None:
        raise Unusable(_why_nothing(text, called, finished))
    if chosen.fault is not None:
        raise Unusable(chosen.fault)
    mark = fingerprint(chosen.source)  # kept; whoever asks for it later needs no tree
    if parent is not None and mark == fingerprint(parent):
        raise Unusable(
            "The program is its parent, unchanged but for comments and names: propose a change "
            "to what it computes."
        )
    motivation = said.motivation or docstring(chosen.source)
    return Answer(said.name or chosen.name, motivation, chosen.source, said.knowledge)


def _of_object(holder: Mapping[str, Any], program: str, parent: str | None) -> Answer:
    answer = _read(plain(program), parent, finished=True)
    told = {
        key: " ".join(map(str, one)) if isinstance(one, list) else str(one)
        for key, one in holder.items()
    }
    return replace(
        answer,
        name=camel(told.get("name", "")) or answer.name,
        motivation=told.get("motivation", "").strip() or answer.motivation,
        knowledge=ids(told.get("knowledge", "")) or answer.knowledge,
    )


def _why_nothing(text: str, called: str, finished: bool) -> str:
    if called:
        return f"Expected a program, got a call of the tool {called!r} without one: {FORM}."
    if not finished:
        return f"The answer was cut off before its program: think and explain less, then {FORM}."
    if _DECLINES.search(text):
        return f"Expected a program, got a refusal: nothing but a mixer is asked for; {FORM}."
    if has_keys(text):
        return f"Expected a program, got JSON without one that can be read: {FORM}."
    return f"Expected a program, found prose only: {FORM}."
