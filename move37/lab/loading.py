"""Turns the text of a candidate's program into something that builds its mixer."""

import ast
import inspect
import linecache
import sys
import types

from torch import nn

from move37.nn.language_model import MixerFactory

MODULE = "candidate"
FILE = "candidate.py"  # what tracebacks show


# What a program may import; of move37, the operators only.
IMPORTS = ("torch", "math", "typing", "dataclasses", "functools", "itertools", "collections.abc")
# Ways out of PyTorch, where work is no longer counted.
FORBIDDEN_ATTRIBUTES = ("numpy", "tolist", "data_ptr")


class Refused(ValueError):
    """The program is not what a candidate's program has to be; says by which check."""

    def __init__(self, check: str, evidence: str) -> None:
        super().__init__(evidence)
        self.check = check


def check_imports(source: str) -> None:
    """Raises Refused if the program imports more than it may; a filter, not the wall."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            inside = node.module == "move37.nn" and {a.name for a in node.names} <= {"ops"}
            names = [] if inside else [f"{'.' * node.level}{node.module or ''}"]
        elif isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_ATTRIBUTES:
            told = f"line {node.lineno} calls {node.attr}: its work could not be counted"
            raise Refused("imports", told)
        for name in names:
            allowed = name in IMPORTS or name.startswith("torch.") or name == "move37.nn.ops"
            if not allowed:
                raise Refused(
                    "imports",
                    f"line {getattr(node, 'lineno', 0)} imports {name}: expected only "
                    f"{', '.join(IMPORTS)}, and ops from move37.nn",
                )


def load_mixer(source: str) -> MixerFactory:
    """Runs the program and returns what builds its mixer from (width, heads).

    The mixer is the one public nn.Module class of the program whose constructor takes `heads`.
    Raises Refused if there is none or several, or if the program imports what it may not, and
    whatever the program itself raises.
    """
    check_imports(source)
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module
    # Tracebacks then show the candidate's own lines.
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    exec(compile(source, FILE, "exec"), module.__dict__)
    found = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, nn.Module)
        and value.__module__ == MODULE
        and not name.startswith("_")
        and "heads" in inspect.signature(value).parameters
    ]
    if len(found) != 1:
        names = ", ".join(kind.__name__ for kind in found) or "none"
        raise Refused(
            "interface",
            "expected one public nn.Module class with __init__(self, dim, *, heads), "
            f"found {names}; give helper classes a leading underscore",
        )
    mixer = found[0]
    return lambda width, heads: mixer(width, heads=heads)
