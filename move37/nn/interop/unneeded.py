"""Modules that a layer imports and does not need to compute: os, json, inspect, DTensor.

A program that imports one of them gets the object of that name here (see `replace_imports`).
It can do what is harmless; everything else raises NoStandIn, with the name and what there is.
"""

import ast
import inspect as _inspect
import json as _json
import logging as _logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_MODULE = __name__


class NoStandIn(ImportError):
    """Something of another library that has no stand-in here; says what there is."""


class Unneeded:
    """Stands for a module; an attribute that it does not have raises NoStandIn."""

    def __init__(self, name: str, **attributes: Any) -> None:
        self._name = name
        vars(self).update(attributes)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        here = ", ".join(key for key in vars(self) if not key.startswith("_")) or "nothing"
        raise NoStandIn(
            f"{self._name}.{name} is not there for a mixer, which computes with tensors; "
            f"of {self._name} there is: {here}"
        )


_ENVIRONMENT: Mapping[str, str] = MappingProxyType({})

os = Unneeded("os", environ=_ENVIRONMENT, getenv=_ENVIRONMENT.get)
json = Unneeded("json", dumps=_json.dumps, loads=_json.loads)
inspect = Unneeded(
    "inspect",
    signature=_inspect.signature,
    Parameter=_inspect.Parameter,
    isfunction=_inspect.isfunction,
    isclass=_inspect.isclass,
)


class DTensor:
    """No tensor is an instance: none is split over devices here."""


class Logger(_logging.Logger):
    """A logger with the further method of transformers."""

    def warning_once(self, message: str, *args: object, **options: Any) -> None:
        """Logs the message, each time: the process holds one layer."""
        self.warning(message, *args, **options)

    info_once = warning_once


def get_logger(name: str | None = None) -> Logger:
    """Returns a logger whose messages go nowhere."""
    logger = Logger(name or "transformers")
    logger.addHandler(_logging.NullHandler())
    return logger


logging = Unneeded("transformers.utils.logging", get_logger=get_logger)

# Modules by the names that a program imports, and what they are here: (name, of what module).
_MODULES = ("os", "json", "inspect")
_NAMES = {"torch.distributed.tensor": ("DTensor",)}


def replace_imports(tree: ast.Module) -> None:
    """Lets `import os`, `from os import environ` and the like in the tree find the objects here.

    A submodule (`import os.path`) and a name that is not here stay as they are; the gate says why
    they are refused.
    """
    for node in ast.walk(tree):
        for block in ("body", "orelse", "finalbody"):
            lines = getattr(node, block, None)
            if isinstance(lines, list):
                setattr(node, block, [new for line in lines for new in _replaced(line)])


def _replaced(line: ast.AST) -> list[ast.AST]:
    if isinstance(line, ast.Import) and any(alias.name in _MODULES for alias in line.names):
        here = [alias for alias in line.names if alias.name in _MODULES]
        others = [alias for alias in line.names if alias.name not in _MODULES]
        new: list[ast.AST] = [ast.ImportFrom(_MODULE, here, 0)]
        new += [ast.Import(others)] if others else []
    elif isinstance(line, ast.ImportFrom) and not line.level and line.module in _NAMES:
        if not {alias.name for alias in line.names} <= {*_NAMES[line.module]}:
            return [line]
        new = [ast.ImportFrom(_MODULE, line.names, 0)]
    elif isinstance(line, ast.ImportFrom) and not line.level and line.module in _MODULES:
        known = vars(globals()[line.module])
        if not {alias.name for alias in line.names} <= known.keys():
            return [line]
        # from os import environ as e: import the module, then assign.
        hidden = f"_unneeded_{line.module}"
        new = [ast.ImportFrom(_MODULE, [ast.alias(line.module, hidden)], 0)]
        for alias in line.names:
            value = ast.Attribute(ast.Name(hidden, ast.Load()), alias.name, ast.Load())
            new.append(ast.Assign([ast.Name(alias.asname or alias.name, ast.Store())], value))
    else:
        return [line]
    return [ast.fix_missing_locations(ast.copy_location(each, line)) for each in new]
