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
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType
from typing import NamedTuple

_ALONE = threading.Lock()
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Parsed(NamedTuple):
    """A program that Python takes. Kept for a while, so it is not to be changed."""

    tree: ast.Module
    nodes: tuple[ast.AST, ...]  # all of them, breadth first
    fingerprint: str


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
            nodes = tuple(_walk(tree))
            try:
                code = _compiled(tree, nodes)
            except SyntaxError:
                # What the grammar does not find: a `return` that lost its function. Once more,
                # from the text, which the error then shows.
                compile(source, "program", "exec", dont_inherit=True)
                raise
        classes = [node.name for node in nodes if isinstance(node, ast.ClassDef)]
        told = repr(_essence(code, _renaming(classes)))
        return Parsed(tree, nodes, _hash(told))
    except SyntaxError as error:
        return error
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:
        return SyntaxError(str(error))


def _walk(tree: ast.AST) -> list[ast.AST]:
    """Returns what `ast.walk` yields, sooner."""
    nodes = [tree]
    for node in nodes:  # it grows
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                nodes.append(value)
            elif isinstance(value, list):
                nodes += [item for item in value if isinstance(item, ast.AST)]
    return nodes


@functools.lru_cache(maxsize=4096)
def fingerprint(source: str) -> str:
    """Returns the same text for programs that differ in words only.

    Comments, docstrings, layout and the names of classes do not count; names of variables do.
    Taken from the code that Python makes of a program; one of which it makes none is its own text.
    """
    program = parse(source)
    return program.fingerprint if isinstance(program, Parsed) else _hash(source)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _compiled(tree: ast.Module, nodes: Iterable[ast.AST]) -> CodeType:
    """Returns the code of a program without its docstrings; leaves the tree as it was."""
    nothing = ast.Pass(lineno=1, col_offset=0, end_lineno=1, end_col_offset=0)
    changed = []
    try:
        for node in nodes:
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


class _Renaming(NamedTuple):
    """What stands for the names of classes."""

    pattern: re.Pattern[str] | None
    names: dict[str, str]

    def __call__(self, text: str) -> str:
        if self.pattern is None or not any(name in text for name in self.names):
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
