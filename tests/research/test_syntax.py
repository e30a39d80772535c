"""Programs that differ in words only have one fingerprint, and no others have."""

import ast
import subprocess
import sys

import pytest

from move37.research.syntax import Parsed, fingerprint, parse

PROGRAM = '''"""A mixer."""

class Mixer:
    """Mixes."""

    def forward(self, x):
        """Returns it."""
        assert x is not None
        if x:
            y = self.__scale * x  # twice
        else:
            y = Mixer.zero("Mixer has none", {"a", "b"})
        return y
'''

SAME = {
    "comments": PROGRAM.replace("  # twice", "  # once"),
    "docstrings": PROGRAM.replace('"""Returns it."""', '"""Gives it back."""'),
    "no docstrings": "\n".join(line for line in PROGRAM.split("\n") if '"""' not in line),
    "layout": PROGRAM.replace("self.__scale * x", "(self.__scale   *\n x)"),
    "the name of the class": PROGRAM.replace("Mixer", "Other"),
    "lines": "\n\n\n" + PROGRAM,
}
OTHERS = {
    "an operation": PROGRAM.replace("* x", "+ x"),
    "a number": PROGRAM.replace("self.__scale", "2"),
    "another number type": PROGRAM.replace("self.__scale", "2.0"),
    "the name of a variable": PROGRAM.replace("y", "z"),
    "an attribute": PROGRAM.replace("__scale", "__gain"),
    "an assertion": PROGRAM.replace("assert x is not None", "pass"),
    "a text": PROGRAM.replace('"b"', '"c"'),
    "a base": PROGRAM.replace("class Mixer:", "class Mixer(list):"),
    "an argument": PROGRAM.replace("(self, x)", "(self, x, /)"),
    "a default": PROGRAM.replace("(self, x)", "(self, x=1)"),
}


@pytest.mark.parametrize("what", SAME)
def test_words_do_not_count(what: str) -> None:
    assert SAME[what] != PROGRAM
    assert fingerprint(SAME[what]) == fingerprint(PROGRAM)


@pytest.mark.parametrize("what", OTHERS)
def test_what_a_program_does_counts(what: str) -> None:
    assert OTHERS[what] != PROGRAM
    assert fingerprint(OTHERS[what]) != fingerprint(PROGRAM)


def test_two_classes_that_change_names_are_two_programs() -> None:
    one = "class A:\n    x = 1\nclass B(A):\n    y = 2\n"
    assert fingerprint(one) == fingerprint(one.replace("A", "C").replace("B", "A"))
    assert fingerprint(one) != fingerprint(one.replace("x = 1", "y = 1"))


def test_names_of_classes_in_annotations_that_are_texts_do_not_count() -> None:
    one = "from __future__ import annotations\nclass A:\n    def f(self) -> A | None: ...\n"
    assert fingerprint(one) == fingerprint(one.replace("A", "B"))


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    code = f"from move37.research.syntax import fingerprint\nprint(fingerprint({PROGRAM!r}))"
    for seed in ("1", "2"):
        told = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.strip() == fingerprint(PROGRAM)


@pytest.mark.parametrize("source", ["def f(:", "return 1", "x = 1\0", "\ud800", "x" + "(" * 300])
def test_what_python_does_not_take_is_its_own_text(source: str) -> None:
    assert fingerprint(source) == fingerprint(source)
    assert fingerprint(source) != fingerprint(source + " ")
    assert isinstance(parse(source), SyntaxError)


def test_a_program_is_parsed_once() -> None:
    parsed = parse(PROGRAM)
    assert isinstance(parsed, Parsed)
    assert parse(PROGRAM) is parsed
    assert ast.get_docstring(parsed.tree) == "A mixer."


BLOCKS = """
async def f(a):
    \"\"\"Says.\"\"\"
    for x in a:
        with x, (lambda: 1)():
            import os
    else:
        while x:
            y = 1 if x else 2
    try:
        pass
    except ValueError:
        match a:
            case 1:
                class Inner:
                    z = [i for i in a]
    else:
        return
    finally:
        async with a:
            if x:
                del x
            elif y:
                raise
"""


@pytest.mark.parametrize("source", [PROGRAM, BLOCKS])
def test_all_statements_are_found(source: str) -> None:
    parsed = parse(source)
    assert isinstance(parsed, Parsed)
    kinds = (ast.Module, ast.stmt, ast.ExceptHandler, ast.match_case)
    expected = [node for node in ast.walk(parsed.tree) if isinstance(node, kinds)]
    assert sorted(parsed.statements, key=id) == sorted(expected, key=id)
