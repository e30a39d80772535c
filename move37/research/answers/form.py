"""Is a text the program of a mixer? One class, written out, of the interface that is asked for.

Not looked into: imports, shapes, behaviour; those are the lab's. `move37.lab.loading` decides in
the end what a mixer is; here its rules are read from the text.
"""

import ast
import codeop
import re
from collections.abc import Iterator, Mapping, Sequence

from move37.research.answers.unusable import FORM, Unusable
from move37.research.syntax import Parsed, parse, quietly

MOST_LINES = 2_000
MOST_BYTES = 200_000
# By which names the layers of others take their width and heads; the same as move37.nn.interop's.
WIDTHS = ("hidden_size", "d_model", "embed_dim", "n_embd", "model_dim", "dim", "width")
HEADS = (
    "num_heads",
    "n_heads",
    "n_head",
    "nhead",
    "nheads",
    "num_head",
    "num_attention_heads",
    "n_attention_heads",
    "attention_heads",
    "heads",
)
VOCABULARIES = ("vocab_size", "vocab", "n_vocab", "vocabulary", "num_tokens", "num_embeddings")
OTHER_FRAMEWORKS = ("jax", "flax", "haiku", "equinox", "tensorflow", "keras", "mlx", "paddle")


def mixer_in(source: str) -> str:
    """Returns the name of the program's mixer; raises Unusable if it is no such program."""
    lines, size = source.count("\n"), len(source.encode())
    if lines > MOST_LINES or size > MOST_BYTES:
        raise Unusable(
            f"The program has {lines:,} lines and {size:,} bytes, at most {MOST_LINES:,} and "
            f"{MOST_BYTES:,} are read: write one mixer, and no more."
        )
    program = parse(source)
    if isinstance(program, SyntaxError):
        raise Unusable(_told(program, source))
    tree = program.tree
    aliases = _aliases(program)
    _check_framework(aliases)
    _check_elisions(source)
    modules = _modules(tree, aliases)
    name = _only(modules)
    _check_training(tree)
    _check_bodies(tree, source, modules, name)
    return name


def _told(error: SyntaxError, source: str) -> str:
    lines = source.rstrip().split("\n")
    line = min(max(error.lineno or 1, 1), len(lines))
    what = f"line {line} ({error.msg}): {lines[line - 1].strip()[:120]}"
    try:
        with quietly():
            cut = line == len(lines) or codeop.compile_command(source, symbol="exec") is None
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        cut = False
    if cut:
        return (
            f"The program ends in the middle of {what}\nAnswer again with all of it; a shorter "
            "program or explanation leaves more room."
        )
    return f"The program has a syntax error in {what}\nAnswer with the complete program, corrected."


def _check_framework(aliases: Mapping[str, str]) -> None:
    for name in aliases.values():
        if (framework := name.split(".")[0]) in OTHER_FRAMEWORKS:
            raise Unusable(f"Expected PyTorch, got a program for {framework}: write it with torch.")


# What stands for code, anywhere in a comment; at its end; beside dots.
_LEFT_OUT = re.compile(
    r"(?i)\b(?:(?:rest|remainder) of (?:the |your )?(?:\w+ )?"
    r"(?:code|program|class|implementation|file|methods?)\b"
    r"|(?:your |the )?(?:code|implementation|logic) (?:goes |omitted |continues )?here\b"
    r"|(?:omitted|elided) for (?:brevity|clarity|space)\b)"
)
_KEPT = re.compile(
    r"(?i)\b(?:existing|previous|other|remaining|unchanged) (?:code|methods?|implementation)\b"
)
# In whatever they match there is one of these.
_TELLING = frozenset(
    "rest remainder here omitted elided existing previous other remaining unchanged".split()
)
_AS_BEFORE = re.compile(r"(?i)\b(?:same|unchanged|as before|omitted|rest|remaining|continues)\b")
_DOTS = ("...", "…")
_WORD = re.compile("[a-z]+")
_TODO = re.compile(r"(?i)#\s*(?:todo|fixme|placeholder|implement)\b")


def _check_elisions(source: str) -> None:
    for number, line in enumerate(source.split("\n"), 1):
        comment = line.strip(" \t")
        if comment.startswith("#") and _is_elision(comment[1:].lstrip(" \t")):
            raise Unusable(
                f"Line {number} stands for code that is left out: {comment[:120]}\n"
                "Nothing can be filled in here; write the program out."
            )


def _is_elision(comment: str) -> bool:
    # Word by word, not as one pattern: where the end is asked for behind each word, a long
    # comment takes the square of its length.
    dotted = comment.startswith(_DOTS) or comment.endswith(_DOTS)
    if not dotted and comment.isascii() and _TELLING.isdisjoint(_WORD.findall(comment.lower())):
        return False  # sooner
    last = re.split("[,;]", comment)[-1]
    return (
        comment in _DOTS
        or _LEFT_OUT.search(comment) is not None
        or _KEPT.search(last) is not None
        or (dotted and _AS_BEFORE.search(comment) is not None)
    )


def _check_training(tree: ast.Module) -> None:
    for node in _run_at_import(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("backward", "optim"):
            raise Unusable(
                f"Line {node.lineno} trains something: expected a file with one mixer only, which "
                "is trained elsewhere; leave the training out."
            )


def _run_at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """Yields, in their order, the nodes outside of functions, classes and `__main__` blocks."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
            continue
        if not isinstance(node, _Function | ast.ClassDef | ast.Lambda):
            todo += reversed(list(ast.iter_child_nodes(node)))


_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Methods = dict[str, _Function | None]  # own and inherited; None: not a plain function


def _aliases(program: Parsed) -> dict[str, str]:
    """Returns what the imported names stand for: nn -> torch.nn."""
    names = {}
    for whole in program.of(ast.Import):
        for alias in whole.names:
            head = alias.name.split(".")[0]
            names[alias.asname or head] = alias.name if alias.asname else head
    for part in program.of(ast.ImportFrom):
        for alias in part.names:
            names[alias.asname or alias.name] = f"{part.module or ''}.{alias.name}"
    return names


def _modules(tree: ast.Module, aliases: Mapping[str, str]) -> dict[str, _Methods]:
    """Returns the nn.Module classes of a program with their methods."""
    modules: dict[str, _Methods] = {}
    for node in _run_at_import(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        bases = [ast.unparse(base) for base in node.bases]
        heads = {base: base.split(".")[0] for base in bases}
        full = [aliases.get(heads[one], heads[one]) + one[len(heads[one]) :] for one in bases]
        known = any(base in modules for base in bases)
        if not known and not any(re.fullmatch(r"(?:.*\.)?Module|torch\.nn\..*", b) for b in full):
            continue
        methods: _Methods = {}
        for base in reversed(bases):
            methods |= modules.get(base, {})
        for line in node.body:
            if isinstance(line, _Function):
                methods[line.name] = line
            elif isinstance(line, ast.Assign):
                methods |= {one.id: None for one in line.targets if isinstance(one, ast.Name)}
        modules[node.name] = methods
    return modules


def _takes(methods: _Methods, method: str, *names: str) -> bool:
    function = methods.get(method)
    if function is None:
        return False
    given = function.args
    return any(one.arg in names for one in [*given.posonlyargs, *given.args, *given.kwonlyargs])


def _only(modules: Mapping[str, _Methods]) -> str:
    """Returns the mixer among the classes, by the rules of `move37.lab.loading`."""
    interface = "with __init__(self, dim, *, heads)"
    public = {name: one for name, one in modules.items() if not name.startswith("_")}
    if not public:
        hidden = f", only {', '.join(modules)}, whose underscore hides it" if modules else ""
        raise Unusable(
            f"Expected one public nn.Module class {interface}, found none{hidden}: {FORM}."
        )
    found = [name for name, one in public.items() if _takes(one, "__init__", "heads")]
    others = [] if found else [n for n, one in public.items() if _takes(one, "__init__", *WIDTHS)]
    for method, names in (("__init__", HEADS), ("forward", ("attention_mask", "past_key_values"))):
        if len(others) > 1:
            others = [n for n in others if _takes(public[n], method, *names)] or others
    found = found or others
    if any(_takes(public[name], "__init__", *VOCABULARIES) for name in found or public):
        raise Unusable(
            "Expected a mixer, got a whole language model: leave out embedding, blocks and head, "
            f"and give one nn.Module class {interface} that maps (B, T, D) to (B, T, D)."
        )
    if not found:
        raise Unusable(
            f"Expected one nn.Module class {interface}; the constructors of {', '.join(public)} "
            "take neither `heads` nor a width: give the mixer this interface."
        )
    if len(found) > 1:
        raise Unusable(
            f"Expected one mixer, found {', '.join(found)}: keep one, or give the classes that "
            "help it a leading underscore."
        )
    return found[0]


def _check_bodies(
    tree: ast.Module, source: str, modules: Mapping[str, _Methods], name: str
) -> None:
    """Raises Unusable if the mixer or what helps it is sketched only."""
    if "forward" not in modules[name]:
        raise Unusable(f"{name} has no forward: {FORM}.")
    lines = source.split("\n")
    forms: dict[str, set[int]] = {}  # method -> those that there are, in all classes
    for methods in modules.values():
        for method, function in methods.items():
            forms.setdefault(method, set()).add(id(function))
    fine: set[int] = set()  # seen: a class has those that it inherits too
    for kind, methods in modules.items():
        for method, function in methods.items():
            overridden = len(forms[method]) > 1
            if function is None or id(function) in fine or (kind != name and overridden):
                continue
            fine.add(id(function))
            if _is_sketched(function, lines):
                raise Unusable(
                    f"{kind}.{method} (line {function.lineno}) is a placeholder: write it out; "
                    "a method that is not offered is left out altogether."
                )
    for node in tree.body:
        if isinstance(node, _Function) and _is_sketched(node, lines):
            raise Unusable(f"{node.name} (line {node.lineno}) is a placeholder: write it out.")


def _is_sketched(function: _Function, lines: Sequence[str]) -> bool:
    if any(re.search("overload|abstract", ast.unparse(one)) for one in function.decorator_list):
        return False
    body = function.body[ast.get_docstring(function, clean=False) is not None :]
    text = "\n".join(lines[function.lineno - 1 : function.end_lineno])
    if not body or (len(body) == 1 and isinstance(body[0], ast.Pass)):
        needed = function.name in ("forward", "step", "initial_state")
        return needed or _TODO.search(text) is not None
    first = body[0]
    if isinstance(first, ast.Expr) and getattr(first.value, "value", None) is ...:
        return True
    if isinstance(first, ast.Raise) and first.exc is not None:
        raised = first.exc.func if isinstance(first.exc, ast.Call) else first.exc
        if isinstance(raised, ast.Name) and raised.id == "NotImplementedError":
            return True
    return len(body) == 1 and _TODO.search(text) is not None
