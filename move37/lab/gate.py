"""Gives a readable reason for the usual mistakes of a program, before it runs.

A courtesy, and no wall: it reads the text, so a program that is written to get around it does. The
walls are elsewhere: the sandbox confines the process, and every number and every verdict that
counts in a run is computed in processes that never load the program (see `measuring`).

Covered: imports of what a mixer does not need; built-in functions that open files, run texts or
show namespaces; modules reached through others (`torch.sys`); attributes that lead from an object
to the interpreter, or from a tensor to where its work is not counted; changes of what is not the
program's own; tensors whose operators would be the program's.
Not covered: whatever no plain name shows, such as `getattr(torch, "s" + "ys")`.
"""

import ast
import builtins
import functools
import importlib
import re
from collections.abc import Collection, Iterable, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType

from torch import Tensor

# What a program may import, with all that is public below it and not in `CLOSED`.
IMPORTS = (
    *("torch", "einops", "fla", "move37.nn.ops", "math", "typing", "typing_extensions", "abc"),
    *("dataclasses", "functools", "itertools", "collections", "copy", "logging", "warnings"),
    *("__future__", "transformers.activations", "transformers.utils", "flash_attn"),
    *("transformers.processing_utils", "move37.nn.interop.unneeded"),
)
# Private by name, and of use to a mixer.
PRIVATE = ("torch._assert", "torch._check", "torch._higher_order_ops")
# Files, processes, texts that become programs, operators out of sight.
CLOSED = (
    *("torch.serialization", "torch.storage", "torch.distributed", "torch.multiprocessing"),
    *("torch.library", "torch.ops", "torch.classes", "torch.hub", "torch.package", "torch.export"),
    *("torch.overrides", "torch.testing", "torch.utils.data", "torch.utils.dlpack", "torch.onnx"),
    *("torch.utils.cpp_extension", "torch.utils.model_zoo", "torch.utils.tensorboard"),
    *("torch.from_file", "torch.fork", "torch.to_dlpack", "torch.jit.fork", "torch.jit.load"),
    *("torch.jit.save", "torch.jit.CompilationUnit", "logging.FileHandler", "logging.handlers"),
)
FUNCTIONS = ("open", "exec", "eval", "compile", "input", "breakpoint", "vars", "globals", "locals")
# Ways out of PyTorch, where work is no longer counted.
UNCOUNTED = ("numpy", "tolist", "data_ptr", "untyped_storage", "UntypedStorage")
# Attributes, of whatever object, that lead to the interpreter. No tensor has one of these names.
INNER = frozenset(
    "sys os builtins importlib import_module inspect ctypes subprocess pickle socket threading "
    "multiprocessing shutil linecache traceback tempfile _C _dynamo _inductor cpp_extension "
    "f_back f_builtins f_globals f_locals tb_frame tb_next gi_code gi_frame cr_frame".split()
)
HARMLESS_DUNDERS = ("__init__", "__name__", "__class__", "__call__", "__doc__", "__version__")
# A class that defines these decides what is seen of its objects.
LIES = frozenset("__class__ __torch_dispatch__ __torch_function__ __instancecheck__".split())
MOST_SHOWN = 8  # refusals, of a program that has more
IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError", "Exception", "BaseException")

NO_MORE = "a mixer computes with tensors, and no more"
NOT_ITS_OWN = "it is not the program's own"
_DUNDER = re.compile(r"__\w+__")


class Refused(ValueError):
    """The program is not what a candidate's program has to be; says by which check."""

    def __init__(self, check: str, evidence: str) -> None:
        super().__init__(evidence)
        self.check = check


def check(tree: ast.Module, own: Collection[str] = ()) -> None:
    """Raises Refused, with the first lines of it, if the program reaches for what it may not.

    `own` names modules of the program's own folder, which it may import. An import that a program
    does without (`try: import triton` with an `except ImportError`) is taken out of the tree.
    """
    _leave_out(tree, own)
    # Its own modules are checked by themselves.
    names = _imported(tree)
    imported = {name: full for name, full in names if full.split(".")[0] not in own}
    bound = {name for node in ast.walk(tree) for name in _names_bound(node)}
    functions = {*FUNCTIONS, "__import__", "__builtins__"} - bound
    found = [
        f"line {getattr(node, 'lineno', 0)} {reason}"
        for node in ast.walk(tree)
        for reason in _reasons(node, imported, functions, own)
    ]
    if found:
        found = list(dict.fromkeys(sorted(found, key=lambda text: int(text.split()[1]))))
        more = f"; and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
        raise Refused("imports", "; ".join(found[:MOST_SHOWN]) + more)


def statements(tree: ast.Module) -> list[ast.AST]:
    """Returns the tree and all statements in it; most nodes are expressions, which take longer."""
    found: list[ast.AST] = [tree]
    for node in found:  # it grows
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            if isinstance(inside := getattr(node, block, None), list):
                found += inside
    return found


# ---------------------------------------------------------------- imports


@functools.cache
def _is_open(name: str) -> bool:
    """Returns True if a program may use a module, or what a module holds, by this full name."""
    if any(name == item or name.startswith(f"{item}.") for item in PRIVATE):
        return True
    if any(name == item or name.startswith(f"{item}.") for item in CLOSED):
        return False
    private = any(part.startswith("_") and not _DUNDER.fullmatch(part) for part in name.split("."))
    below = any(name == item or name.startswith(f"{item}.") for item in IMPORTS)
    return below and (not private or name.startswith("torch.nn."))


def _leads_to_open(name: str) -> bool:
    """Returns True for an open module and for those above it: `move37`, for `move37.nn.ops`."""
    return _is_open(name) or any(item.startswith(f"{name}.") for item in IMPORTS)


def _modules_of(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [f"{'.' * node.level}{node.module or ''}"]


def _may_import(name: str, own: Collection[str]) -> bool:
    return (name.startswith(".") and bool(own)) or name.split(".")[0] in own or _leads_to_open(name)


def _leave_out(tree: ast.Module, own: Collection[str]) -> None:
    for node in statements(tree):
        if isinstance(node, ast.Try) and any(map(_catches_import, node.handlers)):
            node.body = [_unless_refused(line, own) for line in node.body]


def _catches_import(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {kind.id for kind in kinds if isinstance(kind, ast.Name)}
    return handler.type is None or not names.isdisjoint(IMPORT_ERRORS)


def _unless_refused(line: ast.stmt, own: Collection[str]) -> ast.stmt:
    """Returns an import as it is, or if it would be refused, what Python does for lack of it."""
    if not isinstance(line, ast.Import | ast.ImportFrom):
        return line
    names = _modules_of(line)
    if all(_may_import(name, own) for name in names):
        return line
    missing = ast.parse(f"raise ModuleNotFoundError({f'a candidate has no {names[0]}'!r})").body[0]
    return ast.fix_missing_locations(ast.copy_location(missing, line))


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yields the names that imports bind, each with the full name of what it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                full = alias.name if alias.asname else alias.name.split(".")[0]
                yield alias.asname or full, full
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (
                (alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names
            )


def _names_bound(node: ast.AST) -> Iterable[str]:
    """Returns the names that a node binds by something else than an import."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            return [name]
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
    return []


# ---------------------------------------------------------------- the text


def _reasons(
    node: ast.AST, imported: dict[str, str], functions: set[str], own: Collection[str]
) -> Iterator[str]:
    match node:
        case ast.Import() | ast.ImportFrom():
            yield from _against_import(node, own)
        case ast.Attribute():
            yield from _against_attribute(node, imported)
        case ast.Name(id=name, ctx=ast.Load()) if name in functions:
            yield f"uses {name}: {NO_MORE}"
        case ast.Name(id=name, ctx=ast.Load()) if name in imported:
            yield from _against_name(imported[name], "uses")
        case ast.FunctionDef(name=name) | ast.Name(id=name, ctx=ast.Store()) if name in LIES:
            yield f"defines {name}: {NO_MORE}"
        case ast.ClassDef():
            bases = [_value(_full_name(base, imported)) for base in node.bases]
            if any(isinstance(base, type) and issubclass(base, Tensor) for base in bases):
                yield "makes a kind of tensor of its own: its operators could do anything"


def _against_import(node: ast.Import | ast.ImportFrom, own: Collection[str]) -> Iterator[str]:
    for name in _modules_of(node):
        if not _may_import(name, own):
            yield f"imports {name}: {NO_MORE}"
        elif isinstance(node, ast.ImportFrom) and _leads_to_open(name):
            for alias in node.names:
                if alias.name != "*":
                    yield from _against_name(f"{name}.{alias.name}", "imports")


def _against_attribute(node: ast.Attribute, imported: dict[str, str]) -> Iterator[str]:
    full = _full_name(node, imported)
    if full:
        reasons = [*_against_name(full, "uses")]
        if not reasons and not isinstance(node.ctx, ast.Load):
            owner = _value(full.rpartition(".")[0])
            foreign = isinstance(owner, ModuleType | type | FunctionType | BuiltinFunctionType)
            if foreign and not full.startswith("torch.backends."):
                reasons = [f"changes {full}: {NOT_ITS_OWN}"]
        yield from reasons
        if reasons:
            return
    dunder = _DUNDER.fullmatch(node.attr) and node.attr not in HARMLESS_DUNDERS
    if node.attr == "__dict__" and isinstance(node.value, ast.Name) and node.value.id == "self":
        return  # what `extra_repr` shows
    if node.attr in UNCOUNTED:
        yield f"calls {node.attr}: its work could not be counted"
    elif dunder or node.attr in INNER:
        yield f"uses {node.attr}: {NO_MORE}"


def _against_name(full: str, uses: str) -> Iterator[str]:
    """Yields why a program may not use what has this full name, if it may not."""
    value = _value(full)
    if isinstance(value, ModuleType) and not _leads_to_open(value.__name__):
        other = f", the module {value.__name__}" if value.__name__ != full else ""
        yield f"{uses} {full}{other}: {NO_MORE}"
        return
    origin = getattr(value, "__module__", None)
    is_closed = isinstance(origin, str) and any(
        origin == name or origin.startswith(f"{name}.") for name in CLOSED
    )
    if is_closed and isinstance(value, type | FunctionType):
        yield f"{uses} {full}, of {origin}: {NO_MORE}"
    elif not _is_open(full) and not (isinstance(value, ModuleType) and _leads_to_open(full)):
        yield f"{uses} {full}: {NO_MORE}"


def _full_name(node: ast.expr, imported: dict[str, str]) -> str:
    """Returns "torch.nn.functional" for `F`, if that is what it was imported as; "" for others."""
    if isinstance(node, ast.Attribute):
        owner = _full_name(node.value, imported)
        # Of a class or a function, attributes are what they are: the module's names end there.
        return f"{owner}.{node.attr}" if owner and _has(owner, node.attr) else ""
    return imported.get(node.id, "") if isinstance(node, ast.Name) else ""


def _has(owner: str, name: str) -> bool:
    value = _value(owner)
    try:
        return value is not None and (hasattr(value, name) or isinstance(value, ModuleType))
    except ImportError:  # of what stands in for another library; the program hears it itself
        return False


@functools.cache
def _value(full: str) -> object:
    """Returns the object of a full name; None if there is none, or none that may be looked for."""
    root, *rest = full.split(".")
    if not full or not _leads_to_open(root):
        return getattr(builtins, full, None)
    try:
        value: object = importlib.import_module(root)
        path = root
        for name in rest:
            path = f"{path}.{name}"
            if isinstance(value, ModuleType) and not hasattr(value, name) and _leads_to_open(path):
                importlib.import_module(path)
            value = getattr(value, name)
    except Exception:  # noqa: BLE001  the program hears why when it imports it itself
        return None
    return value
