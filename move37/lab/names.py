"""Which real objects the names of a program stand for, as far as its text tells.

Covered: imports, other names that are plainly assigned (`F = torch.nn.functional`), chains of
attributes, and the scopes of Python: a parameter that is called as a module is no module.
Not covered: what values hold. The result of a call, an item, an attribute of an object that is no
module: nothing is said of these.
"""

import ast
import builtins
import importlib
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType

SCOPES = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
UNKNOWN = object()  # a value of the program's own, or one of which nothing is said

MayImport = Callable[[str], bool]


def module(name: str, may_import: MayImport) -> object:
    """Returns the module of that name, imported if need be; UNKNOWN if it may not, or cannot be."""
    try:
        return importlib.import_module(name) if may_import(name) else UNKNOWN
    except Exception:  # noqa: BLE001  the program is told why, when it imports it itself
        return UNKNOWN


def member(owner: ModuleType, name: str, may_import: MayImport) -> object:
    """Returns what a module holds under this name: also a part of it that is not imported yet."""
    try:
        return getattr(owner, name)
    except Exception:  # noqa: BLE001  a module may raise what it likes
        return module(f"{owner.__name__}.{name}", may_import)


def statements(tree: ast.Module) -> list[ast.AST]:
    """Returns the tree and all statements in it; most nodes are expressions, which take longer."""
    found: list[ast.AST] = [tree]
    for node in found:  # it grows
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            if isinstance(inside := getattr(node, block, None), list):
                found += inside
    return found


def _walk(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yields these nodes and all below, outer ones first, but not the inside of other scopes."""
    left = [*nodes][::-1]
    while left:
        node = left.pop()
        yield node
        below = _outside(node) if isinstance(node, SCOPES) else ast.iter_child_nodes(node)
        left += [*below][::-1]


def _inside(node: ast.AST) -> list[ast.AST]:
    """Returns the parts of a scope's text for which its own names are made."""
    match node:
        case ast.Lambda():
            return [node.body]
        case ast.DictComp(generators=[first, *others]):
            return [first.target, *first.ifs, *others, node.key, node.value]
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
            first, *others = node.generators
            return [first.target, *first.ifs, *others, node.elt]
    body: list[ast.AST] = getattr(node, "body", [])
    return body


def _outside(node: ast.AST) -> list[ast.AST]:
    """Returns the parts that are said in the names around it, as defaults are."""
    if generators := getattr(node, "generators", []):
        return [generators[0].iter]
    within = {id(one) for one in _inside(node)}
    return [one for one in ast.iter_child_nodes(node) if id(one) not in within]


class Scope:
    """The names that a program, class, function or comprehension binds."""

    def __init__(self, node: ast.AST, outer: "Scope | None", may_import: MayImport) -> None:
        self.outer, self.may_import = outer, may_import
        self.root: Scope = outer.root if outer else self
        self._settled: dict[int, dict[int, object]] = {}  # of the root: what expressions may be
        self.nodes = [*_walk(_inside(node))]
        # Its names are attributes of an object.
        self.is_class = isinstance(node, ast.ClassDef)
        self.elsewhere: set[str] = set()  # names that it binds in another scope
        self._of_the_root: set[str] = set()
        self._bound: dict[str, list[object]] = {}
        for name, value in self._bindings(node):
            if name not in self.elsewhere:
                self._bound.setdefault(name, []).append(value)

    def _bindings(self, node: ast.AST) -> list[tuple[str, object]]:
        within = self.nodes
        if generators := getattr(node, "generators", []):  # what `:=` binds there is not its own
            within = [*_walk(one.target for one in generators)]
        for one in within:
            if isinstance(one, ast.Global | ast.Nonlocal):
                self.elsewhere |= {*one.names}
                self._of_the_root |= {*one.names} if isinstance(one, ast.Global) else set()
        parameters = _parameters(node.args) if hasattr(node, "args") else []
        names: list[tuple[str, object]] = [(one.arg, UNKNOWN) for one in parameters]
        return names + [bound for one in within for bound in bindings(one, self.may_import)]

    def find(self, name: str) -> list[tuple[object, "Scope"]]:
        """Returns all that a name may stand for here: objects, UNKNOWN, or expressions.

        Each with the scope that says so.
        """
        found: list[tuple[object, Scope]] = []
        scope: Scope | None = self.root if name in self._of_the_root else self
        while scope:
            here = scope._bound.get(name, []) if scope is self or not scope.is_class else []
            found += [(value, scope) for value in here]
            if here and not scope.is_class:
                return found
            scope = scope.outer
        return [*found, (getattr(builtins, name, UNKNOWN), self.root)]

    def values(self, node: ast.AST) -> list[object]:
        """Returns the objects, not the program's own, that an expression may be.

        A name may be bound to expressions whose names hang on it again: so what is known of each
        grows until it does not.
        """
        settled = self.root._settled
        if id(node) in settled:
            return [*settled[id(node)].values()]
        asked: dict[int, tuple[ast.AST, Scope]] = {id(node): (node, self)}
        known: dict[int, dict[int, object]] = {}
        grows = True
        while grows or len(known) < len(asked):
            grows = False
            for key, (one, scope) in reversed([*asked.items()]):  # what was asked last is needed
                found = {id(value): value for value in scope._values(one, asked, known)}
                grows |= len(found) > len(known.get(key, ()))
                known[key] = found
        settled.update(known)  # all that it hangs on has stopped growing too
        return [*known[id(node)].values()]

    def _values(
        self,
        node: ast.AST,
        asked: "dict[int, tuple[ast.AST, Scope]]",
        known: dict[int, dict[int, object]],
    ) -> Iterator[object]:
        """Yields what is known so far, and asks what it hangs on."""
        if isinstance(node, ast.Attribute):
            for owner in self._known(node.value, asked, known):
                if isinstance(owner, ModuleType) and self.may_import(owner.__name__):
                    value = member(owner, node.attr, self.may_import)
                    if value is not UNKNOWN:
                        yield value
        elif isinstance(node, ast.Name):
            for value, scope in self.find(node.id):
                if isinstance(value, ast.AST):
                    yield from scope._known(value, asked, known)
                elif value is not UNKNOWN:
                    yield value

    def _known(
        self,
        node: ast.AST,
        asked: "dict[int, tuple[ast.AST, Scope]]",
        known: dict[int, dict[int, object]],
    ) -> list[object]:
        if id(node) in self.root._settled:
            return [*self.root._settled[id(node)].values()]
        asked.setdefault(id(node), (node, self))
        return [*known.get(id(node), {}).values()]


def _parameters(args: ast.arguments) -> list[ast.arg]:
    others = [one for one in (args.vararg, args.kwarg) if one]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *others]


def bindings(node: ast.AST, may_import: MayImport) -> Iterator[tuple[str, object]]:
    """Yields the names that a node itself binds, each with its value, or the expression of it."""
    match node:
        case ast.Name(ctx=ast.Store() | ast.Del()):
            yield node.id, UNKNOWN
        case ast.Assign():
            yield from ((one.id, node.value) for one in node.targets if isinstance(one, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield name, value
        case ast.Import():
            for alias in node.names:
                named, root = module(alias.name, may_import), alias.name.split(".")[0]
                yield (alias.asname, named) if alias.asname else (root, module(root, may_import))
        case ast.ImportFrom():
            of = UNKNOWN if node.level else module(node.module or "", may_import)
            for alias in node.names:
                yield from _imported(of, alias, may_import)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name, UNKNOWN
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            yield name, UNKNOWN
        case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
            yield name, UNKNOWN


def _imported(of: object, alias: ast.alias, may_import: MayImport) -> Iterator[tuple[str, object]]:
    if not isinstance(of, ModuleType):
        yield alias.asname or alias.name, UNKNOWN
    elif alias.name == "*":
        public = [name for name in vars(of) if not name.startswith("_")]
        names = getattr(of, "__all__", public)
        yield from ((name, member(of, name, may_import)) for name in names)
    else:
        yield alias.asname or alias.name, member(of, alias.name, may_import)
