"""Programs as Python sees them: trees and code, for readers of answers and for novelty.

Nothing of a program runs here. CPython 3.11 counts the depth of all threads' parses in one place,
and finds it wrong at times: so one thread parses at a time.
"""

import ast
import contextlib
import functools
import hashlib
import re
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType
from typing import NamedTuple, TypeVar

N = TypeVar("N", bound=ast.AST)

# How fingerprints are taken: what code Python makes of a program differs between its versions.
RULE = f"{sys.implementation.cache_tag}/1:"

_ALONE = threading.Lock()
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Parsed(NamedTuple):
    """A program that Python takes. Kept for a while, so it is not to be changed."""

    tree: ast.Module
    statements: Sequence[ast.AST]  # all of them, breadth first; also `except` and `case`
    fingerprint: str

    def of(self, kind: type[N]) -> Iterator[N]:
        """Yields the statements of a kind."""
        return (one for one in self.statements if isinstance(one, kind))


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Within it one parses, alone and without warnings: an odd escape is no concern of ours."""
    with _ALONE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def parse(source: str) -> Parsed | SyntaxError:
    """Returns the program, or why Python does not take it."""
    return _parse(source.rstrip("\n") + "\n")


@functools.lru_cache(maxsize=8)  # a tree is far larger than its text
def _parse(source: str) -> Parsed | SyntaxError:
    try:
        with quietly():
            tree = ast.parse(source)
            statements = _statements(tree)
            try:
                code = _compiled(tree, statements)
            except SyntaxError:
                # What the grammar does not find: a `return` that lost its function. Once more,
                # from the text, which the error then shows.
                compile(source, "program", "exec", dont_inherit=True)
                raise
        parsed = Parsed(tree, statements, "")
        classes = [node.name for node in parsed.of(ast.ClassDef)]
        return parsed._replace(fingerprint=_hash(repr(_essence(code, _Renamed(classes)))))
    except SyntaxError as error:
        return error
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:
        return SyntaxError(str(error))


def forget_trees() -> None:
    """Frees the programs that were parsed: it costs less while the processor's caches hold them."""
    _parse.cache_clear()


def _statements(tree: ast.AST) -> list[ast.AST]:
    """Returns the tree and all statements in it. Most nodes are expressions, which take longer."""
    found = [tree]
    for node in found:  # it grows
        for block in _blocks(node._fields):
            found += getattr(node, block)
    return found


@functools.cache
def _blocks(fields: Sequence[str]) -> list[str]:
    """Returns the fields of a statement that hold further ones."""
    return [one for one in ("body", "orelse", "finalbody", "handlers", "cases") if one in fields]


@functools.lru_cache(maxsize=4096)
def fingerprint(source: str) -> str:
    """Returns the same text for programs that differ in words only.

    Comments, docstrings, layout and the names of classes do not count; names of variables do.
    Taken from the code that Python makes of a program; one of which it makes none is its own text.
    """
    program = parse(source)
    return program.fingerprint if isinstance(program, Parsed) else _hash(source)


def is_current(mark: str) -> bool:
    """Says whether a fingerprint, kept by whatever Python, can be compared with those of now."""
    return mark.startswith(RULE)


def _hash(text: str) -> str:
    return RULE + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _compiled(tree: ast.Module, statements: Iterable[ast.AST]) -> CodeType:
    """Returns the code of a program without its docstrings; leaves the tree as it was."""
    nothing = ast.Pass(lineno=1, col_offset=0, end_lineno=1, end_col_offset=0)
    changed = []
    try:
        for node in statements:
            if isinstance(node, _DOCUMENTED) and any(map(_is_docstring, node.body)):
                changed.append((node, node.body))
                node.body = [line for line in node.body if not _is_docstring(line)] or [nothing]
        return compile(tree, "program", "exec", dont_inherit=True, optimize=0)
    finally:
        for node, body in changed:
            node.body = body


def _is_docstring(line: ast.stmt) -> bool:
    return (
        isinstance(line, ast.Expr)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
    )


class _Renamed(dict[str, str]):
    """What stands for a text: other names of classes in it. Each text is looked through once."""

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__({name: f"Class{n}" for n, name in enumerate(dict.fromkeys(classes))})
        self._names = dict(self)

    @functools.cached_property
    def _either(self) -> re.Pattern[str]:
        longest = sorted(self._names, key=len, reverse=True)
        # Also where the name is a part: _A__x is what Python makes of __x within A.
        return re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, longest))})(?![^\W_])")

    def __missing__(self, text: str) -> str:
        there = any(name in text for name in self._names)
        told = self._either.sub(lambda name: self._names[name[0]], text) if there else text
        self[text] = told
        return told


def _essence(code: object, renamed: _Renamed) -> object:
    """Returns what a code object does, without where it stands and how classes are called."""
    if isinstance(code, CodeType):
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        return (
            code.co_code,
            getattr(code, "co_exceptiontable", b""),  # since Python 3.11
            code.co_flags,
            (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
            [[renamed[name] for name in each] for each in names],
            [_essence(each, renamed) for each in code.co_consts],
        )
    if isinstance(code, str):
        return renamed[code]
    if isinstance(code, tuple):
        return tuple(_essence(each, renamed) for each in code)
    if isinstance(code, frozenset):  # in the order of its hashes, which differ between processes
        return "frozenset", sorted(repr(_essence(each, renamed)) for each in code)
    return code
