"""Modules that a layer imports and does not need: what they are here, and what they refuse."""

import ast
from typing import Any

import pytest

from move37.nn.interop import NoStandIn
from move37.nn.interop.unneeded import replace_imports


def run(source: str) -> dict[str, Any]:
    tree = ast.parse(source)
    replace_imports(tree)
    scope: dict[str, Any] = {}
    exec(compile(tree, "layer.py", "exec"), scope)
    return scope


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os\nfound = os.environ.get('BACKEND', 'triton')", "triton"),
        ("import os as system\nfound = system.getenv('BACKEND', 'triton')", "triton"),
        ("from os import environ as e\nfound = len(e)", 0),
        ("import math, os\nfound = (math.floor(1.5), len(os.environ))", (1, 0)),
        ("import json\nfound = json.loads(json.dumps([1]))", [1]),
        ("if True:\n    import inspect\nfound = len(inspect.signature(len).parameters)", 1),
        ("def f():\n    import os\n    return len(os.environ)\nfound = f()", 0),
        ("try:\n    import os\nfinally:\n    found = len(os.environ)", 0),
        ("from torch.distributed.tensor import DTensor\nfound = isinstance(1, DTensor)", False),
    ],
)
def test_what_is_harmless_works(source: str, expected: object) -> None:
    assert run(source)["found"] == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import os\nos.system('ls')", "os.system is not there for a mixer.*: environ, getenv"),
        ("import json\njson.load", "json.load is not there .*: dumps, loads"),
        ("import inspect\ninspect.currentframe()", "inspect.currentframe is not there"),
    ],
)
def test_anything_else_says_what_there_is(source: str, message: str) -> None:
    with pytest.raises(NoStandIn, match=message):
        run(source)


@pytest.mark.parametrize("source", ["import os.path", "from os import system", "import sys"])
def test_other_imports_stay_as_they_are(source: str) -> None:
    tree = ast.parse(source)
    replace_imports(tree)
    assert ast.unparse(tree) == source


def test_an_environment_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        run("import os\nos.environ['A'] = 'b'")
