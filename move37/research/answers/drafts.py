"""The pieces of code of an answer, and which of them is the program that is meant."""

import ast
import builtins
import re
from collections.abc import Sequence
from dataclasses import dataclass

from move37.research.answers.fences import Block, without_prose
from move37.research.answers.form import mixer_in
from move37.research.answers.mending import is_python, mended
from move37.research.answers.prose import encodable
from move37.research.answers.unusable import Unusable
from move37.research.syntax import Parsed, fingerprint, parse


@dataclass(frozen=True)
class Draft:
    """A piece of code, and what keeps it from being a mixer's program."""

    raw: str
    source: str
    name: str  # of its mixer
    fault: str | None
    closed: bool

    @property
    def means_a_mixer(self) -> bool:
        """Says whether it has a class that could be one, however broken."""
        # No line end in what stands before it: else all lines behind are read for each line.
        opens = r"(?m)^[ \t\f\d|:.+>]*class\s+\w+\s*\(.*Module"
        return re.search(opens, self.source) is not None


def draft_of(block: Block) -> Draft:
    """Returns the block's code, mended, with what is wrong with it."""
    source = mended(block.text)
    if not is_python(source) and is_python(bare := mended(without_prose(source))):
        source = bare if bare.strip() else source
    source = source.strip("\n") + "\n"
    try:
        return Draft(block.text, source, mixer_in(source), None, block.closed)
    except Unusable as fault:
        return Draft(block.text, source, "", str(fault), block.closed)


_CODE_AT_ALL = re.compile(r"(?m)^[ \t]*(?:import|from|class|def) ")


def choose(
    drafts: Sequence[Draft], wanted: str, parent: str | None, finished: bool
) -> Draft | None:
    """Returns the draft that is meant, by its name or as the last; None if there is no code.

    Raises Unusable if the answer was cut off within it.
    """
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
        joined = draft_of(Block("\n".join(draft.raw for draft in drafts), last.closed))
        if joined.fault is None:
            return joined
    whole = [draft for draft in serious if draft.fault is None]
    if not whole or not is_python(last.source):
        return last
    if parent is not None:
        old = fingerprint(parent)
        whole = [draft for draft in whole if fingerprint(draft.source) != old] or whole
    chosen = ([draft for draft in whole if draft.name == wanted] or whole)[-1]
    return _with_helpers(chosen, drafts)


def _with_helpers(chosen: Draft, drafts: Sequence[Draft]) -> Draft:
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
            and is_python(draft.source)
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
    return draft_of(Block(joined, chosen.closed))


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


def docstring(source: str) -> str:
    """Returns the docstring of a program, or else of its first class that has one."""
    tree = _program(source).tree
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    told = [ast.get_docstring(tree), *(ast.get_docstring(one) for one in classes)]
    return encodable(next((text for text in told if text), ""))  # it may be written with escapes
