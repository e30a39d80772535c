"""Turns the text of a candidate's program into something that builds its mixer.

A program holds a mixer of ours, or a layer with the interface of Flash Linear Attention (fla), for
which `move37.nn.interop` finds what it imports. Loading is for a process that runs this program
and no other: fla's name means the stand-ins from then on.
"""

import ast
import contextlib
import importlib.util
import inspect
import linecache
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import PurePosixPath
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
from move37.nn.interop.unneeded import replace_imports
from move37.nn.language_model import MixerFactory
from move37.records import Folder
from move37.verify.options import Options, single_options
from move37.verify.subject import line_in

MODULE = "candidate"
FILE = "candidate.py"  # what tracebacks show
# The package of a folder whose name is no name for a package, or that of another.
PACKAGE = "candidate_folder"


def check_imports(source: str) -> None:
    """Raises Refused if the program reaches for what it may not, without running it; see `gate`."""
    gate.check(_parse(source))


def _parse(source: str, filename: str = FILE) -> ast.Module:
    """Returns the program without what stands under `if TYPE_CHECKING:`.

    A type checker reads it, and no interpreter runs it, so it may import anything. Taken out, it
    cannot run here whatever the program makes of that name.
    """
    tree = ast.parse(source, filename)
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
    replace_imports(tree)
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


def load_program(source: str, name: str | None = None, folder: Folder | None = None) -> Program:
    """Runs the program and returns its mixer: the class of that name, or the only one.

    That is the one public nn.Module class of the program whose constructor takes `heads`, or else
    the one layer of fla's interface, whose constructor takes `hidden_size` or another of `WIDTHS`.
    With a folder, the program may import the other files of it, each of which is checked before it
    runs. Raises Refused if there is none or several, or if the program reaches for what it may
    not, and whatever the program itself raises.
    """
    # Before the gate, which looks at what the names of fla stand for. Also where the real fla is
    # usable: its kernels run neither on the CPU nor in float64, and mixers are verified there.
    stand_in(although_usable=True)
    with _without_compiling():
        try:
            module = _run(source) if folder is None else _import(source, folder)
        except NoStandIn as error:
            line = line_in(traceback.extract_tb(error.__traceback__)) if folder else ""
            raise Refused("imports", f"{error}, at {line}" if line else str(error)) from error
    kind = _named(module, name) if name else _only(module)
    variants = {what: _builder(kind, options) for what, options in single_options(kind)}
    return Program(kind.__name__, _builder(kind, lambda width, heads: {}), variants)


def _run(source: str) -> types.ModuleType:
    """Returns the module of a program of one file."""
    tree = _parse(source)
    gate.check(tree)
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module
    _show_in_tracebacks(FILE, source)
    exec(compile(tree, FILE, "exec"), module.__dict__)
    return module


def _show_in_tracebacks(filename: str, source: str) -> None:
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)


# ---------------------------------------------------------------- a program of several files


def _import(source: str, folder: Folder) -> types.ModuleType:
    """Returns the module of a program's own file, imported from its folder as from a package."""
    for earlier in [one for one in sys.meta_path if isinstance(one, _FolderFinder)]:
        earlier.stand_down()
    finder = _FolderFinder(source, folder)
    sys.meta_path.insert(0, finder)
    return importlib.import_module(finder.program)


class _FolderFinder:
    """Finds the modules of a program's folder; each is checked before it runs, and runs once."""

    def __init__(self, source: str, folder: Folder) -> None:
        name = folder.name
        is_free = name not in sys.modules and name.isidentifier()
        is_free = is_free and importlib.util.find_spec(name) is None
        self.package = name if is_free else PACKAGE
        self.program = self._module_of(folder.program)
        texts = {one.path: one.text for one in folder.others} | {folder.program: source}
        # Of norm.py and norm/__init__.py, Python takes the second.
        paths = sorted(texts, key=lambda path: path.endswith("__init__.py"))
        self._files = {self._module_of(path): (path, texts[path]) for path in paths}
        self._folder = name

    def _module_of(self, path: str) -> str:
        """Returns "layers.norms.rms" for "norms/rms.py", and "layers.norms" for its __init__.py."""
        parts = PurePosixPath(path).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        return ".".join([self.package, *(part.replace(".", "_") for part in parts)])

    def find_spec(
        self, name: str, path: object = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        is_package = any(other.startswith(f"{name}.") for other in self._files)
        if name == self.package or name in self._files or is_package:
            is_package |= self._files.get(name, ("__init__.py", ""))[0].endswith("__init__.py")
            return ModuleSpec(name, self, is_package=is_package)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """Python makes the module."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Runs a file; raises Refused, with its name, if it reaches for what it may not."""
        if module.__name__ not in self._files:
            return  # a folder without an __init__.py
        path, text = self._files[module.__name__]
        filename = f"{self._folder}/{path}"
        _show_in_tracebacks(filename, text)
        tree = _parse(text, filename)
        try:
            gate.check(tree, own=(self.package,))
        except Refused as error:
            raise Refused(error.check, f"{filename}: {error}") from None
        exec(compile(tree, filename, "exec"), module.__dict__)

    def stand_down(self) -> None:
        """Undoes what was imported."""
        sys.meta_path.remove(self)
        for name in [one for one in sys.modules if one.split(".")[0] == self.package]:
            del sys.modules[name]


def _modules(module: types.ModuleType) -> list[type[nn.Module]]:
    found = (
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, nn.Module)
        and value.__module__ == module.__name__
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
