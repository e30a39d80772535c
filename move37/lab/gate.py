"""Refuses a program that reaches for more than tensors, and says at which line.

Names are followed to the real objects behind them: `F.importlib` is refused because it is a module
that no mixer needs, and not because somebody has thought of that name. A module may be called by
another name and is no value beside: it goes into no list, no argument and no attribute, where it
would be lost from sight. What a text names (`getattr(self, name)`) is looked at when it is used.

Covered: what is imported; what is used of the modules; built-in functions that open files, run
texts or show namespaces; attributes that lead from an object to the interpreter; changes of what
is not the program's own; tensors whose operators would be the program's.
Not covered: what values hold. A foreign object that comes from a call, or hangs on an object of
PyTorch's, is known by its attribute's name only (`INNER`); a change of PyTorch that no text shows
is seen when the next mixer is built, if it is still there and in a main namespace or a usual layer
(`pytorch`); `self.__dict__` is let through for whatever is called self. This is a filter that gives
a reason; the wall is the sandbox, and that numbers are measured from outside.
"""

import ast
import builtins
import functools
import importlib
import re
import sys
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from move37.lab.names import SCOPES, Scope, bindings, member, module, statements

# What a program may import; of move37, the operators only.
IMPORTS = (
    "torch",
    "einops",
    "fla",
    "math",
    "typing",
    "dataclasses",
    "functools",
    "itertools",
    "collections.abc",
    "warnings",
    "__future__",
    *("abc", "collections", "copy", "logging", "typing_extensions"),  # see `MEMBERS`
)
# At the head of many a file; of these modules, what is of no harm.
MEMBERS = {
    "abc": ("ABC", "abstractmethod"),
    "collections": ("OrderedDict", "defaultdict", "deque", "Counter", "namedtuple", "abc"),
    "copy": ("copy", "deepcopy"),
    "logging": ("getLogger",),
    "typing_extensions": ("Self", "Literal", "TypedDict", "NotRequired", "Unpack", "override"),
}
# And below these. A dot at the end: with all that is below it.
PARTS = (
    *("move37.nn.ops", "fla.", "einops.einops", "einops.layers", "einops.layers.torch"),
    *("einops.packing", "torch.utils.checkpoint", "torch.return_types", "torch.types"),
    *("torch.nn.", "torch.distributions.", "torch.signal.", "torch.amp.", "torch.cpu.amp."),
    *("torch.autograd", "torch.autograd.forward_ad", "torch.autograd.function"),
    *("torch.autograd.functional", "torch.autograd.grad_mode", "torch.autograd.profiler"),
    *("torch.fft", "torch.func", "torch.functional", "torch.linalg", "torch.masked"),
    *("torch.nested", "torch.quasirandom", "torch.random", "torch.sparse", "torch.special"),
    *("torch.compiler", "torch.jit", "torch.profiler", "torch.version", "torch._higher_order_ops"),
    *("torch._higher_order_ops.associative_scan", "torch._higher_order_ops.scan"),
    *("torch.accelerator", "torch.cpu", "torch.cuda", "torch.cuda.amp.", "torch.cuda.nvtx"),
    *("torch.mps", "torch.xpu", "torch.backends", "torch.backends.cpu", "torch.backends.cuda"),
    *("torch.backends.cudnn", "torch.backends.mkl", "torch.backends.mkldnn"),
    *("torch.backends.mps", "torch.backends.openmp", "torch.backends.opt_einsum"),
)
PRIVATE = ("torch._assert", "torch._check")  # private by name, and of use to a mixer
# What these modules hold beside: files, texts that become programs, ways around the counting.
DOORS = (
    *("torch.from_file", "torch.import_ir_module", "torch.import_ir_module_from_buffer"),
    *("torch.PyTorchFileReader", "torch.PyTorchFileWriter", "torch.ScriptModuleSerializer"),
    *("torch.LiteScriptModule", "torch.CompilationUnit", "torch.parse_ir", "torch.fork"),
    *("torch.wait", "torch.to_dlpack", "torch.get_device_module", "torch.DispatchKeySet"),
    *("torch.DisableTorchFunction", "torch.DisableTorchFunctionSubclass"),
    *("torch.ExcludeDispatchKeyGuard", "torch.compiler.load_cache_artifacts"),
    *("torch.compiler.load_compiled_function", "torch.compiler.save_cache_artifacts"),
    *("torch.cuda.CUDAPluggableAllocator", "torch.cuda.cudart", "typing.ForwardRef"),
    *("typing.get_type_hints", "typing.get_args", "functools.singledispatch"),
    *("functools.singledispatchmethod", "functools.update_wrapper", "torch.compiler.wrap_numpy"),
)
# Where functions and classes may come from that are met in other modules; and what of it may not.
ORIGINS = ("builtins", "contextlib", "move37", "numbers")
CLOSED = (
    *("torch.serialization", "torch.storage", "torch.distributed", "torch.library", "torch._utils"),
    *("torch.overrides", "torch.testing", "torch.utils.dlpack", "torch.utils._python_dispatch"),
    *("torch.jit._async", "torch.jit._serialization", "torch.nn.parallel", "einops._backends"),
)
# Ways out of PyTorch, where work is no longer counted.
UNCOUNTED = ("numpy", "tolist", "data_ptr", "untyped_storage", "UntypedStorage")
# Built-in functions: files, texts that become programs, namespaces.
FORBIDDEN = ("open", "exec", "eval", "compile", "input", "breakpoint", "vars", "globals", "locals")
# What reaches for what a text names, or changes it, is called with what it needs, and no more.
ACCESS: tuple[object, ...] = (getattr, hasattr, setattr, delattr)
PLAINLY = (*ACCESS, functools.wraps)
# Attributes of whatever object: modules, and the frames of what runs. No tensor, module or dict has
# one of these names.
INNER = frozenset(
    "sys os builtins importlib import_module inspect ctypes subprocess pickle socket threading "
    "multiprocessing shutil linecache traceback tempfile _C _dynamo _inductor cpp_extension "
    "load_library obj _evaluate _module f_back f_builtins f_code f_globals f_locals tb_frame "
    "tb_next gi_code gi_frame gi_yieldfrom cr_await cr_code cr_frame ag_await ag_code "
    "ag_frame".split()
)
HARMLESS_DUNDERS = ("__init__", "__name__", "__class__", "__call__", "__doc__", "__version__")
TEXTS = (*HARMLESS_DUNDERS, "__main__")  # dunders that a text may be
NAMES = frozenset(  # dunders that no name may be: Python keeps them where programs find them
    "__annotations__ __build_class__ __builtins__ __import__ __loader__ __module__ __spec__".split()
)
# What no class may define: its objects would tell whoever looks at them what they like.
LIES = frozenset(
    "__class__ __torch_dispatch__ __torch_function__ __instancecheck__ __match_args__ "
    "__reduce__ __reduce_ex__".split()
)

TOLD = 8  # refusals, of a program that has more
IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError", "Exception", "BaseException")

NO_MORE = "a mixer computes with tensors, and no more"
NOT_ITS_OWN = "it is not the program's own"
_DUNDER = re.compile(r"__\w+__")


class Refused(ValueError):
    """The program is not what a candidate's program has to be; says by which check."""

    def __init__(self, check: str, evidence: str) -> None:
        super().__init__(evidence)
        self.check = check


def _refusal(line: int, told: str) -> Refused:
    return Refused("imports", f"line {line} {told}")


# ---------------------------------------------------------------- what may be used


@functools.cache
def _is_open(name: str) -> bool:
    """Says whether a program may import this module, and use what it holds."""
    below = [one for one in PARTS if one.endswith(".")]
    return (
        name in IMPORTS
        or any(name in (one, one[:-1]) for one in PARTS)
        or (name.startswith(tuple(below)))
    )


@functools.cache
def _may_be_met(name: str) -> bool:
    """Says whether a module is open, or leads to one that is: `move37`, for `move37.nn.ops`."""
    return _is_open(name) or any(one.startswith(f"{name}.") for one in (*IMPORTS, *PARTS))


@functools.cache
def _is_known(origin: str) -> bool:
    """Says whether what comes from this module may be met in another."""
    root = origin.split(".")[0].removeprefix("_")
    roots = {one.split(".")[0] for one in (*IMPORTS, *ORIGINS)}
    return root in roots and not origin.startswith(CLOSED)


@functools.cache
def _doors() -> frozenset[int]:
    """The objects that `DOORS` and `FORBIDDEN` name, by id: they have other names too."""
    parts = (name.rpartition(".") for name in DOORS)
    doors = [getattr(importlib.import_module(of), name, None) for of, _, name in parts]
    doors += [getattr(builtins, name) for name in FORBIDDEN]
    return frozenset(map(id, doors)) - {id(None)}


def _against(of: ModuleType, name: str) -> str | None:
    """Says why a program may not use this name of a module that it may meet, or None."""
    full = f"{of.__name__}.{name}"
    if name not in MEMBERS.get(of.__name__, (name,)):
        return f"uses {full}: {NO_MORE}"
    private = name.startswith("_") and not _DUNDER.fullmatch(name)
    if private and not (full in PRIVATE or _is_open(full) or full.startswith("torch.nn.")):
        return f"uses {full}: {NO_MORE}"
    value = member(of, name, _may_be_met)
    if not isinstance(value, ModuleType) and not _is_open(of.__name__):
        return f"uses {full}: {NO_MORE}"
    return _against_value(value, full)


def _against_value(value: object, name: str) -> str | None:
    """Says why a program may not use an object, whatever it calls it, or None."""
    if isinstance(value, ModuleType) and not _may_be_met(value.__name__):
        other = f", the module {value.__name__}" if value.__name__ != name else ""
        return f"uses {name}{other}: {NO_MORE}"
    if id(value) in _doors():
        return f"uses {name}: {NO_MORE}"
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        origin: str | None = value.__module__  # None for some that are written in C
        if origin and not _is_known(origin):
            return f"uses {name}, of {origin}: {NO_MORE}"
    return None


def _against_any(name: str) -> str | None:
    """Says why no attribute of that name may be used, of whatever object, or None."""
    if name in UNCOUNTED:
        return f"calls {name}: its work could not be counted"
    dunder = _DUNDER.fullmatch(name) and name not in HARMLESS_DUNDERS
    return f"uses {name}: {NO_MORE}" if dunder or name in INNER else None


# ---------------------------------------------------------------- the text


def check(tree: ast.Module) -> None:
    """Raises Refused if the program's text reaches for what it may not, with the first lines of it.

    What a program does without (`try: import triton` with an `except ImportError`) it has to do
    without: the tree is changed so.
    """
    _leave_out(tree)
    reader = _Reader()
    reader.read(tree, None)
    told = list(dict.fromkeys(reader.refused))
    if told:
        more = f"; and {len(told) - TOLD} more" if len(told) > TOLD else ""
        raise Refused("imports", "; ".join(told[:TOLD]) + more)


def _leave_out(tree: ast.Module) -> None:
    for node in statements(tree):
        if isinstance(node, ast.Try) and any(map(_catches_import, node.handlers)):
            node.body = [_unless_refused(one) for one in node.body]


def _catches_import(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {one.id for one in kinds if isinstance(one, ast.Name)}
    return handler.type is None or not names.isdisjoint(IMPORT_ERRORS)


def _unless_refused(line: ast.stmt) -> ast.stmt:
    """Returns an import as it is, or if it would be refused, what Python does if there is none."""
    if not isinstance(line, ast.Import | ast.ImportFrom):
        return line
    names = [alias.name for alias in line.names]
    if isinstance(line, ast.ImportFrom):
        names = [f"{'.' * line.level}{line.module or ''}"]
    if all(map(_may_be_met, names)):
        return line
    missing = ast.parse(f"raise ModuleNotFoundError({f'a candidate has no {names[0]}'!r})").body[0]
    return ast.fix_missing_locations(ast.copy_location(missing, line))


class _Reader:
    """Reads a program, scope by scope."""

    def __init__(self) -> None:
        self.refused: list[str] = []  # why, each with its line
        self._fine: set[int] = set()  # nodes that may be a module, or getattr, or any text

    def read(self, node: ast.AST, outer: Scope | None) -> None:
        scope = Scope(node, outer, _may_be_met)
        for one in scope.nodes:
            try:
                self._check(one, scope)
            except Refused as refused:
                self.refused.append(str(refused))
            if isinstance(one, SCOPES):
                self.read(one, scope)

    def _check(self, node: ast.AST, scope: Scope) -> None:
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Import() | ast.ImportFrom():
                self._check_import(node, scope)
            case ast.Attribute(value=ast.Name(id="self") as own, attr="__dict__") if (
                not scope.values(own)
            ):
                pass  # what `extra_repr` shows
            case ast.Attribute():
                self._fine.add(id(node.value))
                self._check_attribute(node.value, node.attr, node.ctx, scope)
                self._check_value(node, scope)
            case ast.Name(ctx=ast.Load()) if node.id not in NAMES:
                self._check_value(node, scope)
            case ast.Name(id=name) if name in NAMES | LIES:
                raise _refusal(line, f"uses {name}: {NO_MORE}")
            case ast.Call(func=ast.Name(id=name), args=[owner, what, *_]):
                self._check_access(node, [one for one, _ in scope.find(name)], owner, what, scope)
            case ast.Call(func=func, args=[one], keywords=[]) if not isinstance(one, ast.Starred):
                self._fine.add(id(func))
            case ast.Assign(targets=targets, value=ast.Name() | ast.Attribute() as value):
                self._fine |= {id(value)} if all(_is_followed(x, scope) for x in targets) else set()
            case ast.AnnAssign(target=target, value=ast.Name() | ast.Attribute() as value):
                self._fine |= {id(value)} if _is_followed(target, scope) else set()
            case ast.Compare(ops=ops) if all(isinstance(one, ast.Is | ast.IsNot) for one in ops):
                self._fine |= {id(node.left), *map(id, node.comparators)}
            case ast.MatchClass():
                for told in filter(None, map(_against_any, node.kwd_attrs)):
                    raise _refusal(line, told)
            case ast.Constant(value=str(text)) if _DUNDER.fullmatch(text) and text not in TEXTS:
                if id(node) not in self._fine:
                    raise _refusal(line, f"uses {text}: {NO_MORE}")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name in LIES:
                raise _refusal(line, f"defines {name}: {NO_MORE}")
            case ast.ClassDef():
                bases = [value for base in node.bases for value in scope.values(base)]
                if any(isinstance(base, type) and issubclass(base, Tensor) for base in bases):
                    told = "its operators could do anything"
                    raise _refusal(line, f"makes a kind of tensor of its own: {told}")

    def _check_import(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        given = [alias.name for alias in node.names]
        of = f"{'.' * node.level}{node.module or ''}" if isinstance(node, ast.ImportFrom) else None
        for name in given if of is None else [of]:
            if not _may_be_met(name):
                known = name.split(".")[0] in IMPORTS
                expected = f"expected only {', '.join(IMPORTS)}, and ops from move37.nn"
                raise _refusal(node.lineno, f"imports {name}: {NO_MORE if known else expected}")
        source = module(of, _may_be_met) if of else None
        for name in given if of and given != ["*"] else []:
            told = _against(source, name) if isinstance(source, ModuleType) else None
            if told := told or _against_any(name):
                raise _refusal(node.lineno, told.replace("uses", "imports", 1))
        for name, value in bindings(node, _may_be_met):
            if isinstance(value, ModuleType) and (scope.is_class or name in scope.elsewhere):
                raise _as_a_value(node.lineno, name)

    def _check_attribute(
        self, owner: ast.expr, name: str, use: ast.expr_context, scope: Scope
    ) -> None:
        owners = scope.values(owner)
        modules = [one for one in owners if isinstance(one, ModuleType)]
        if not all(_may_be_met(one.__name__) for one in modules):
            return  # `owner` itself is refused
        for told in (*(_against(one, name) for one in modules), _against_any(name)):
            if told:
                raise _refusal(owner.lineno, told)
        if not isinstance(use, ast.Load) and (name in LIES or any(map(_is_foreign, owners))):
            told = f"changes {ast.unparse(owner)[:100]}.{name}: {NOT_ITS_OWN}"
            raise _refusal(owner.lineno, told)

    def _check_access(
        self, node: ast.Call, called: list[object], owner: ast.expr, what: ast.expr, scope: Scope
    ) -> None:
        """Reads `getattr(owner, "name")` as `owner.name`."""
        if len(called) != 1 or not any(called[0] is one for one in ACCESS):
            return
        self._fine |= {id(node.func), id(owner)}
        use = ast.Load() if called[0] is getattr else ast.Store()
        if called[0] is hasattr:
            self._fine.add(id(what))
        elif isinstance(what, ast.Constant) and isinstance(what.value, str):
            self._check_attribute(owner, what.value, use, scope)

    def _check_value(self, node: ast.Name | ast.Attribute, scope: Scope) -> None:
        """Refuses functions that may not be used, and modules where they would be lost."""
        for value in scope.values(node):
            if told := _against_value(value, ast.unparse(node)):
                raise _refusal(node.lineno, told)
            if id(node) in self._fine:
                continue
            if isinstance(value, ModuleType):
                raise _as_a_value(node.lineno, ast.unparse(node))
            if any(value is one for one in PLAINLY):
                told = f"uses {ast.unparse(node)} in another way than by a plain call"
                raise _refusal(node.lineno, told)


def _as_a_value(line: int, name: str) -> Refused:
    expected = f"expected {name}.NAME, for what a mixer needs of it"
    return _refusal(line, f"uses the module {name} as a value: {expected}")


def _is_foreign(value: object) -> bool:
    """Says whether a change of it is one for others. The backends' switches are there for it."""
    if isinstance(value, ModuleType) and value.__name__.startswith("torch.backends"):
        return False
    return isinstance(value, ModuleType | type | FunctionType | BuiltinFunctionType)


def _is_followed(target: ast.expr, scope: Scope) -> bool:
    """Says whether what is assigned to it is known by that name afterwards."""
    named = isinstance(target, ast.Name) and target.id not in scope.elsewhere
    return named and not scope.is_class


# ---------------------------------------------------------------- what runs


def built_in(program: str) -> dict[str, Any]:
    """Returns the built-in names for a program: those that it may not use raise Refused.

    Those that get, set or delete what a text names look at what that is.
    """

    def refusing(name: str) -> Callable[..., None]:
        def refuse(*_: object, **__: object) -> None:
            raise _refusal(_line(), f"uses {name}: {NO_MORE}")

        return refuse

    def look_at(owner: object, name: str) -> str:
        name = str.__str__(name)  # a text of the program's own kind may compare as it likes
        told = _against(owner, name) if isinstance(owner, ModuleType) else None
        if told := told or _against_any(name):
            raise _refusal(_line(), told)
        return name

    def get(owner: object, name: str, *default: object) -> object:
        name = look_at(owner, name)
        value = getattr(owner, name, *default)
        if isinstance(value, ModuleType):
            raise _refusal(_line(), f"uses {name}, the module {value.__name__}: {NO_MORE}")
        return value

    def change(owner: object, name: str) -> str:
        name = look_at(owner, name)
        if name in LIES or (_is_foreign(owner) and not _is_a_kind_of(program, owner)):
            raise _refusal(_line(), f"changes {name} of {owner!r:.100}: {NOT_ITS_OWN}")
        return name

    def set_(owner: object, name: str, value: object) -> None:
        setattr(owner, change(owner, name), value)

    def delete(owner: object, name: str) -> None:
        delattr(owner, change(owner, name))

    refused = {name: refusing(name) for name in FORBIDDEN}
    return vars(builtins) | refused | {"getattr": get, "setattr": set_, "delattr": delete}


def _line() -> int:
    """Returns the line of the nearest caller that is not in this file."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame.f_lineno


def _is_a_kind_of(program: str, value: object) -> TypeGuard[type]:
    return isinstance(value, type) and value.__module__ == program


def check_namespace(program: ModuleType) -> None:
    """Raises Refused if the program, which has run, holds a module that it may not meet."""
    kinds = [one for one in vars(program).values() if _is_a_kind_of(program.__name__, one)]
    for holder in (program, *kinds):
        for name, value in vars(holder).items():
            if isinstance(value, ModuleType) and not _may_be_met(value.__name__):
                told = f"the program holds the module {value.__name__} as {name}: {NO_MORE}"
                raise Refused("imports", told)


def pytorch() -> list[tuple[Any, dict[str, object]]]:
    """Returns what everybody uses of PyTorch, as it is: its main namespaces and usual layers."""
    holders = (
        *(torch, torch.linalg, nn.functional, Tensor, nn.Module, torch.autograd.Function),
        *(nn.Linear, nn.Conv1d, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.Dropout),
    )
    return [(holder, dict(vars(holder))) for holder in holders]


def check_pytorch(before: list[tuple[Any, dict[str, object]]]) -> None:
    """Raises Refused if something of PyTorch is no longer what it was."""
    for holder, names in before:
        now = vars(holder)
        changed = {name for name, value in names.items() if now.get(name) is not value}
        # Modules grow as parts of theirs are imported, and classes as they are pickled. But what
        # hides an inherited method has been put there.
        inherited = {name for base in getattr(holder, "__mro__", ())[1:] for name in vars(base)}
        changed |= (now.keys() - names.keys()) & inherited
        # PyTorch itself wraps the one when its compiler is imported, and sets the other with the
        # default dtype.
        for name in sorted(changed - {"manual_seed", "Storage"}):
            told = f"the program changes {holder.__name__}.{name}: {NOT_ITS_OWN}"
            raise Refused("imports", told)
