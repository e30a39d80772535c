"""Has this program been tried already?"""

import ast
import functools
import hashlib
import threading
from collections.abc import Sequence

from move37.records import Proposal, Rejected

# CPython 3.11 counts the depth of all threads' parses in one place, and finds it wrong at times.
_PARSING = threading.Lock()


@functools.lru_cache(maxsize=4096)
def fingerprint(source: str) -> str:
    """Returns the same text for programs that differ in words only.

    Comments, docstrings, layout and the names of classes do not count; names of variables do.
    A program that cannot be parsed is its own text.
    """
    try:
        tree = parsed(source)
    except (SyntaxError, ValueError, RecursionError):
        return hashlib.sha256(source.encode()).hexdigest()
    classes: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [line for line in node.body if not _is_docstring(line)] or [ast.Pass()]
        if isinstance(node, ast.ClassDef):
            classes[node.name] = f"Class{len(classes)}"
            node.name = classes[node.name]
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in classes:
            node.id = classes[node.id]
    try:
        told = ast.dump(tree)
    except RecursionError:  # nested more deeply than Python follows
        told = source
    return hashlib.sha256(told.encode()).hexdigest()


def parsed(source: str) -> ast.Module:
    """Returns the tree of a program; safe in several threads. Raises as `ast.parse` does."""
    with _PARSING:
        return ast.parse(source)


def _is_docstring(line: ast.stmt) -> bool:
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )


def repeats(proposal: Proposal, tried: Sequence[tuple[int, Proposal]]) -> Rejected | None:
    """Refuses a program that was tried already, apart from comments and names of classes.

    `tried` holds the number of the experiment with each program.
    """
    mine = fingerprint(proposal.source)
    for experiment, other in tried:
        same_parts = bool(proposal.components) and proposal.components == other.components
        if same_parts or fingerprint(other.source) == mine:
            told = f"the same program as {other.name} of experiment {experiment}"
            return Rejected("novelty", told)
    return None
