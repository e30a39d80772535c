"""Turns the text of a candidate's program into something that builds its mixer."""

import inspect
import linecache
import sys
import types

from torch import nn

from move37.nn.language_model import MixerFactory

MODULE = "candidate"
FILE = "candidate.py"  # what tracebacks show


class NoMixer(ValueError):
    """The program holds no mixer, or more than one."""


def load_mixer(source: str) -> MixerFactory:
    """Runs the program and returns what builds its mixer from (width, heads).

    The mixer is the one public nn.Module class of the program whose constructor takes `heads`.
    Raises NoMixer if there is none or several, and whatever the program itself raises.
    """
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
        raise NoMixer(
            "expected one public nn.Module class with __init__(self, dim, *, heads), "
            f"found {names}; give helper classes a leading underscore"
        )
    mixer = found[0]
    return lambda width, heads: mixer(width, heads=heads)
