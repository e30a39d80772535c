"""Has this program been tried already?"""

import ast
import functools
import hashlib
import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from move37.history import History
from move37.records import Proposal, Record, Rejected
from move37.results import Result

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


def repeats(
    proposal: Proposal, tried: Iterable[tuple[int, Proposal]], known: History | None = None
) -> Rejected | None:
    """Refuses a program that was tried already, apart from comments and names of classes.

    `tried` holds the number of the experiment with each program; `known` are others, older ones.
    """
    same = _same(proposal)
    if known is not None:
        programs, border = known.gathered(_Programs).firsts, known.border
        first = min((programs[one] for one in same if one in programs), default=None)
        if first is not None and first.experiment < border:
            return _refused(first.experiment, first.name)
    for experiment, other in tried:
        if not same.isdisjoint(_same(other)):
            return _refused(experiment, other.name)
    return None


def _same(proposal: Proposal) -> set[str | tuple[str, ...]]:
    """Returns what no two programs may have in common."""
    parts = {proposal.components} if proposal.components else set()
    return {fingerprint(proposal.source), *parts}


def _refused(experiment: int, name: str) -> Rejected:
    return Rejected("novelty", f"the same program as {name} of experiment {experiment}")


class _First(NamedTuple):
    """Where a program was tried first."""

    experiment: int
    step: int
    name: str


class _Programs:
    """What was tried in a history, and where first."""

    def __init__(self) -> None:
        self.firsts: dict[str | tuple[str, ...], _First] = {}

    def take(self, experiment: Sequence[Record], found: Sequence[Result]) -> None:  # noqa: ARG002
        """Takes in the next experiment."""
        for record in experiment:
            proposal = record.candidate.proposal
            for one in _same(proposal):
                self.firsts.setdefault(one, _First(record.experiment, record.step, proposal.name))
