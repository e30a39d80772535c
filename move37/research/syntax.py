"""Programs as Python sees them: trees and code, for readers of answers and for novelty.

Nothing of a program runs here. CPython 3.11 counts the depth of all threads' parses in one place,
and finds it wrong at times: so one thread parses at a time.
"""

import ast
import contextlib
import functools
import hashlib
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import NamedTuple

_ALONE = threading.Lock()
_FAILURES = (ValueError, OverflowError, RecursionError, MemoryError)


class Parsed(NamedTuple):
    """A program that Python takes. Kept for a while, so it is not to be changed."""

    tree: ast.Module
    nodes: tuple[ast.AST, ...]  # all of them, breadth first


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Within it one parses, alone and without warnings: an odd escape is no concern of ours."""
    with _ALONE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@functools.lru_cache(maxsize=8)  # a tree takes a hundred times the memory of its text
def parse(source: str) -> Parsed | SyntaxError:
    """Returns the program, or why Python does not take it."""
    try:
        with quietly():
            tree = ast.parse(source)
            # Finds what the grammar does not: a `return` that lost its function.
            compile(source, "program", "exec", dont_inherit=True)
            return Parsed(tree, tuple(ast.walk(tree)))
    except SyntaxError as error:
        return error
    except _FAILURES as error:
        return SyntaxError(str(error))


@functools.lru_cache(maxsize=4096)
def fingerprint(source: str) -> str:
    """Returns the same text for programs that differ in words only.

    Comments, docstrings, layout and the names of classes do not count; names of variables do.
    Taken from the code that Python makes of a program; one of which it makes none is its own text.
    """
    try:
        with quietly():
            tree = ast.parse(source)
            classes = _without_words(tree)
            code = compile(tree, "program", "exec", dont_inherit=True, optimize=0)
        told = repr(_essence(code, _renaming(classes)))
    except (SyntaxError, *_FAILURES):
        told = source
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()


def _without_words(tree: ast.Module) -> list[str]:
    """Takes the docstrings off; returns the names of the classes, in order."""
    classes, left = list[str](), list[ast.AST]([tree])
    while left:
        node = left.pop()
        if isinstance(node, ast.ClassDef):
            classes.append(node.name)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [line for line in node.body if not _is_docstring(line)] or [
                ast.Pass(lineno=1, col_offset=0, end_lineno=1, end_col_offset=0)
            ]
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, name, [])
            if isinstance(inner, list):  # of a lambda it is an expression
                left += reversed(inner)
    return classes


def _is_docstring(line: ast.stmt) -> bool:
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )


class _Renaming(NamedTuple):
    """What stands for the names of classes."""

    pattern: re.Pattern[str] | None
    names: dict[str, str]

    def __call__(self, text: str) -> str:
        if self.pattern is None:
            return text
        return self.pattern.sub(lambda found: self.names[found[0]], text)


def _renaming(classes: Sequence[str]) -> _Renaming:
    names = {name: f"Class{n}" for n, name in enumerate(dict.fromkeys(classes))}
    if not names:
        return _Renaming(None, names)
    longest = sorted(names, key=len, reverse=True)
    # Also where the name is a part: _A__x is what Python makes of __x within A.
    pattern = rf"(?<![^\W_])(?:{'|'.join(map(re.escape, longest))})(?![^\W_])"
    return _Renaming(re.compile(pattern), names)


def _essence(code: object, rename: _Renaming) -> object:
    """Returns what a code object does, without where it stands and how classes are called."""
    if isinstance(code, CodeType):
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        return (
            code.co_code,
            getattr(code, "co_exceptiontable", b""),  # since Python 3.11
            code.co_flags,
            (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
            [[rename(name) for name in each] for each in names],
            [_essence(each, rename) for each in code.co_consts],
        )
    if isinstance(code, str):
        return rename(code)
    if isinstance(code, tuple):
        return tuple(_essence(each, rename) for each in code)
    if isinstance(code, frozenset):  # in the order of its hashes, which differ between processes
        return "frozenset", sorted(repr(_essence(each, rename)) for each in code)
    return code
