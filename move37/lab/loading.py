"""Turns the text of a candidate's program into something that builds its mixer.

A program holds a mixer of ours, or a layer with the interface of Flash Linear Attention (fla), for
which `move37.nn.interop` finds what it imports. Loading is for a process that runs this program
and no other: fla's name means the stand-ins from then on.
"""

import ast
import contextlib
import inspect
import linecache
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from move37.lab import gate
from move37.lab.gate import Refused as Refused
from move37.lab.gate import statements
from move37.nn.interop import (
    HEADS,
    WIDTHS,
    NoStandIn,
    adapt,
    adapted,
    stand_in,
    takes_cu_seqlens,
    takes_mask,
)
from move37.nn.language_model import MixerFactory
from move37.verify.options import Options, single_options

MODULE = "candidate"
FILE = "candidate.py"  # what tracebacks show


def check_imports(source: str) -> None:
    """Raises Refused if the program reaches for what it may not, without running it; see `gate`."""
    gate.check(_parse(source))


def _parse(source: str) -> ast.Module:
    """Returns the program without what stands under `if TYPE_CHECKING:`.

    A type checker reads it, and no interpreter runs it, so it may import anything. Taken out, it
    cannot run here whatever the program makes of that name.
    """
    tree = ast.parse(source, FILE)
    # What typing.TYPE_CHECKING is called here.
    lines = statements(tree)
    names = {
        f"{alias.asname or alias.name}{suffix}"
        for node in lines
        for alias, suffix in _typing_imports(node)
    }
    names |= {"__name__ == '__main__'"}  # nor does anything run that a script keeps for itself
    for node in lines:
        if isinstance(node, ast.If) and ast.unparse(node.test) in names:
            node.body = [ast.copy_location(ast.Pass(), node.body[0])]
    return tree


def _typing_imports(node: ast.AST) -> Iterator[tuple[ast.alias, str]]:
    if isinstance(node, ast.Import):
        yield from ((a, ".TYPE_CHECKING") for a in node.names if a.name == "typing")
    elif isinstance(node, ast.ImportFrom) and node.module == "typing" and not node.level:
        yield from ((a, "") for a in node.names if a.name == "TYPE_CHECKING")


@dataclass(frozen=True)
class Program:
    """What a program's mixer is called, what builds it, and what builds it with other options."""

    name: str
    make: MixerFactory
    variants: Mapping[str, MixerFactory]  # by what differs: "gate=False"


def load_mixer(source: str) -> MixerFactory:
    """Returns what builds the mixer of a program from (width, heads); see `load_program`."""
    return load_program(source).make


def load_program(source: str, name: str | None = None) -> Program:
    """Runs the program and returns its mixer: the class of that name, or the only one.

    That is the one public nn.Module class of the program whose constructor takes `heads`, or else
    the one layer of fla's interface, whose constructor takes `hidden_size` or another of `WIDTHS`.
    Raises Refused if there is none or several, or if the program reaches for what it may not, and
    whatever the program itself raises.
    """
    # Before the gate, which looks at what the names of fla stand for. Also where the real fla is
    # usable: its kernels run neither on the CPU nor in float64, and mixers are verified there.
    stand_in(although_usable=True)
    tree = _parse(source)
    gate.check(tree)
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module
    # Tracebacks then show the candidate's own lines.
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    with _without_compiling():
        try:
            exec(compile(tree, FILE, "exec"), module.__dict__)
        except NoStandIn as error:
            raise Refused("imports", str(error)) from error
    kind = _named(module, name) if name else _only(module)
    variants = {what: _builder(kind, options) for what, options in single_options(kind)}
    return Program(kind.__name__, _builder(kind, lambda width, heads: {}), variants)


def _modules(module: types.ModuleType) -> list[type[nn.Module]]:
    found = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == MODULE
    )
    return list(dict.fromkeys(found))  # a class may have two names


def _named(module: types.ModuleType, name: str) -> type[nn.Module]:
    found = {kind.__name__: kind for kind in _modules(module)}
    if name not in found:
        told = ", ".join(found) or "none"
        raise Refused("interface", f"expected an nn.Module class {name}, found {told}")
    if not _takes(found[name], "heads") and not _width_of(found[name]):
        raise Refused(
            "interface",
            f"the constructor of {name} takes neither `heads` nor a width by one of these names: "
            f"{', '.join(WIDTHS)}",
        )
    return found[name]


def _only(module: types.ModuleType) -> type[nn.Module]:
    public = [kind for kind in _modules(module) if not kind.__name__.startswith("_")]
    ours = [kind for kind in public if _takes(kind, "heads")]
    if len(ours) == 1:
        return ours[0]
    theirs = [] if ours else [kind for kind in public if _width_of(kind)]
    # A layer's helpers (norms, gates) often take `hidden_size` too.
    for tell in (lambda kind: _takes(kind, *HEADS), _is_called_as_a_layer):
        if len(theirs) > 1:
            theirs = [kind for kind in theirs if tell(kind)] or theirs
    if len(theirs) == 1:
        return theirs[0]
    found = ", ".join(kind.__name__ for kind in ours or theirs)
    told = (
        f"found {found}; give the others a leading underscore, or name the one that is meant "
        "(`move37 verify FILE:CLASS`)"
        if found
        else "with __init__(self, dim, *, heads), or one layer of fla's interface with "
        "__init__(self, hidden_size, num_heads), found none"
    )
    raise Refused("interface", f"expected one public nn.Module class{', ' if found else ' '}{told}")


def _builder(kind: type[nn.Module], options: Options) -> MixerFactory:
    if _takes(kind, "heads"):
        mixer: Any = kind
        return _uncompiled(
            lambda width, heads: _offering(mixer(width, heads=heads, **options(width, heads)))
        )
    return _uncompiled(lambda width, heads: adapt(kind, options(width, heads))(width, heads))


def _offering(mixer: nn.Module) -> nn.Module:
    """Returns a mixer that takes documents and padding by our names, if it does by others' names.

    One that decodes, or has a loss of its own, is left as it is: around it nobody would see that.
    """
    if any(hasattr(mixer, name) for name in ("step", "auxiliary_loss")):
        return mixer
    ours = inspect.signature(mixer.forward).parameters.keys() & {"documents_BT", "mask_BT"}
    theirs = takes_cu_seqlens(mixer) or takes_mask(mixer)
    return adapted(mixer, with_casts=True) if theirs and not ours else mixer


def _takes(kind: Callable[..., Any], *arguments: str) -> bool:
    return any(name in inspect.signature(kind).parameters for name in arguments)


def _width_of(kind: type[nn.Module]) -> str | None:
    """Returns by which name the constructor takes the width, if it is a layer of others."""
    return next((name for name in WIDTHS if _takes(kind, name)), None)


def _is_called_as_a_layer(kind: type[nn.Module]) -> bool:
    return _takes(kind.forward, "attention_mask", "past_key_values")


def _uncompiled(make: MixerFactory) -> MixerFactory:
    def build(width: int, heads: int) -> nn.Module:
        with _without_compiling():
            return make(width, heads)

    return build


@contextlib.contextmanager
def _without_compiling() -> Iterator[None]:
    """Within it, `torch.compile` returns what it is given.

    Compiling costs more than an examination: 20 s a function, and again for other shapes. Even
    deciding not to (`torch.compiler.set_stance`) imports the compiler, 1 s a child.
    """
    compiler = torch.compile
    torch.compile = _leave_as_it_is
    try:
        yield
    finally:
        torch.compile = compiler


def _leave_as_it_is(model: Any = None, **_: object) -> Any:
    return (lambda one: one) if model is None else model
