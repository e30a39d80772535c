"""The mixers of the library as the office knows them: by their text.

What is told of each is read from the docstring of its class, so that the list cannot say more
than the source does. `tests/test_catalogue.py` asks that every docstring can be read.
"""

import ast
import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from textwrap import dedent

from move37.records import InputError

# What papers and code call them, in the spelling of `_spelled`.
ALIASES: Mapping[str, str] = {
    "attention": "SoftmaxAttention",
    "mha": "SoftmaxAttention",
    "swa": "SlidingWindowAttention",
    "linattn": "LinearAttention",
    "lineartransformer": "LinearAttention",
    "retention": "RetNet",
    "retentivenetwork": "RetNet",
    "gla": "GatedLinearAttention",
    "ssd": "Mamba2",
    "deltarule": "DeltaNet",
    "gdn": "GatedDeltaNet",
    "gateddeltarule": "GatedDeltaNet",
    "kda": "KimiDeltaAttention",
    "kimilinear": "KimiDeltaAttention",
    "goose": "RWKV7",
    "mesa": "MesaNet",
    "mesalayer": "MesaNet",
}
# Mixers that are not in the library, and what is nearest to them there.
NEAR: Mapping[str, str] = {
    "mamba": "Mamba2",
    "s4": "Mamba2",
    "s6": "Mamba2",
    "hgrn": "HGRN2",
    "ttt": "Titans",
    "tttlinear": "Titans",
}
SUGGESTIONS = 3


@dataclass(frozen=True)
class Entry:
    """One mixer of the library."""

    name: str
    file: str
    summary: str
    recurrence: str  # as in the docstring, lines aligned
    paper: str  # first author and arXiv number
    time: str  # O(..), in B, T, D, H, K, V
    state: str  # what decoding keeps
    constructor: str  # how it is built
    options: dict[str, int | None]  # what the constructor takes beside dim and heads: the defaults

    @property
    def source(self) -> str:
        """The text of its file."""
        return mixer_source(self.file)

    @property
    def path(self) -> str:
        """Where its file lies; `move37 verify` takes it."""
        return str(resources.files("move37").joinpath("nn", "mixers", self.file))

    @property
    def import_line(self) -> str:
        """What a program says to have it."""
        return f"from move37.nn.mixers import {self.name}"

    @property
    def in_short(self) -> "InShort":
        """The same in a few signs, for a list."""
        return InShort(
            recurrence=_short_recurrence(self.recurrence, _docstring(self.name, self.source)),
            arxiv=self.paper.rpartition(":")[2],
            state=_short_size(self.state),
            time=_short_size(self.time.removeprefix("O(").removesuffix(")")),
        )


@dataclass(frozen=True)
class InShort:
    """An entry in a few signs each, for one line of a list."""

    recurrence: str  # without the index of time: S←aS; S←S+b(v-Sk)kᵀ
    arxiv: str
    state: str  # numbers for each sequence, in leading terms
    time: str  # in leading terms


@functools.cache
def catalogue() -> tuple[Entry, ...]:
    """Returns all mixers in the order of the registry, `move37.nn.mixers.MIXERS`."""
    tree = ast.parse(mixer_source("__init__.py"))
    files = {
        alias.name: f"{(node.module or '').rpartition('.')[2]}.py"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    registry = next(node.value for node in tree.body if isinstance(node, ast.AnnAssign))
    assert isinstance(registry, ast.Tuple)
    names = [one.id for one in registry.elts if isinstance(one, ast.Name)]
    return tuple(_entry(name, files[name]) for name in names)


def find(name: str) -> Entry:
    """Returns the mixer of that class name, file name or abbreviation.

    Raises InputError with what may be meant, or else with all names.
    """
    wanted = _spelled(name)
    meant = ALIASES.get(wanted, wanted).lower()
    for entry in catalogue():
        if meant in (entry.name.lower(), _spelled(entry.file)):
            return entry
    if near := _near(wanted):
        told = f"did you mean {' or '.join(near)}? `move37 mixers` lists all"
    else:
        told = f"expected one of {', '.join(entry.name for entry in catalogue())}"
    raise InputError(f"no mixer {name!r} in the library: {told}")


def _spelled(name: str) -> str:
    return re.sub(r"[-_\s]", "", name.lower().removesuffix(".py"))


def _near(wanted: str) -> list[str]:
    """Returns the names that may be meant: those that hold the word, else those spelled alike."""
    names = {entry.name.lower(): entry.name for entry in catalogue()}
    if wanted in NEAR:
        return [NEAR[wanted]]
    if len(wanted) > 2 and (found := [name for low, name in names.items() if wanted in low]):
        return found[:SUGGESTIONS]
    known = names | dict(ALIASES)
    alike = [known[one] for one in difflib.get_close_matches(wanted, known, SUGGESTIONS)]
    return list(dict.fromkeys(alike))


def _entry(name: str, file: str) -> Entry:
    source = mixer_source(file)
    docstring, taken = _docstring(name, source), _arguments(name, source)
    paragraphs = docstring.split("\n\n")
    recurrence = _aligned("\n".join(part for part in paragraphs if part.startswith("    ")))
    flowing = " ".join(docstring.split())
    cost = re.search(r"Time (O\(.*?\))[;,.] [Tt]he state (?:holds )?(.*?)\.(?: |$)", flowing)
    papers = re.findall(r"([A-Z]\w+(?: \w+)? et al\.)[^:]{0,12}arXiv:(\d{4}\.\d{5})", flowing)
    if not (recurrence and cost and papers):
        raise ValueError(f"the docstring of {name} lacks recurrence, cost or paper")
    author, number = papers[-1]
    options = zip(taken.kwonlyargs, taken.kw_defaults, strict=True)
    return Entry(
        name=name,
        file=file,
        summary=paragraphs[0],
        recurrence=recurrence,
        paper=f"{author} arXiv:{number}",
        time=cost[1],
        state=cost[2],
        constructor=f"{name}({_arguments_told(taken)})",
        options={one.arg: ast.literal_eval(default) for one, default in options if default},
    )


def _class(name: str, source: str) -> ast.ClassDef:
    kinds = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    return next(node for node in kinds if node.name == name)


def _docstring(name: str, source: str) -> str:
    return ast.get_docstring(_class(name, source)) or ""


def _arguments(name: str, source: str) -> ast.arguments:
    methods = (one for one in _class(name, source).body if isinstance(one, ast.FunctionDef))
    return next(one.args for one in methods if one.name == "__init__")


def _arguments_told(taken: ast.arguments) -> str:
    return ast.unparse(taken).removeprefix("self, ").replace("=", " = ")


def _short_recurrence(recurrence: str, docstring: str) -> str:
    """Returns what becomes of the state; of attention, which has none, over what it goes."""
    formulas = [line.rsplit("   ", 1)[0] for line in recurrence.splitlines()]
    updates = [line.replace("_ti", "").replace("_t", "") for line in formulas if "<-" in line]
    told = [_squeezed(line) for line in updates]
    if "softmax_s" in recurrence:
        over = "the last W" if "t - W" in recurrence else "all"
        told.append("softmax" if told else f"softmax over {over}")
    short = "; ".join(told)
    # All that tells some of them apart.
    if (found := re.search(r"with b_ti? in \(0, (\d)\)", docstring)) is not None:
        short += f", 0<b<{found[1]}"
    return short + (", n×" if "i = 1..n" in recurrence else "")


def _short_size(told: str) -> str:
    """(W - 1) H (2 K + 1) numbers, and so on -> 2WHK."""
    told = told.split(" numbers")[0].replace("iterations", "n")
    told = re.sub(r"grows by (.*)", r"\1 T", told)
    told = re.sub(r"\((\d )?(\w) [-+] 1\)", r"\1\2", told)
    return _squeezed(re.sub(r"((?:[A-Z] )+)(\d) ", r"\2 \1", told))


def _squeezed(formula: str) -> str:
    """S <- S + b (v - S k) k^T -> S←S+b(v-Sk)kᵀ; a word keeps the space before it: S diag(a)."""
    formula = " ".join(formula.replace("<-", "←").replace("^T", "ᵀ").split())
    formula = re.sub(r" ?([-+*←]) ?", r"\1", formula)
    return re.sub(r"(?<=[\w)]) (?=[A-Za-z](?![a-z])|\()", "", formula)


def _aligned(block: str) -> str:
    """Returns the lines with their remarks, which follow after three spaces, in one column."""
    split = [re.match(r"(.*\S) {3,}(\S.*)|(.*)", line) for line in dedent(block).splitlines()]
    lines = [(found[1] or found[3], found[2] or "") for found in split if found]
    column = max((len(formula) for formula, remark in lines if remark), default=0) + 3
    return "\n".join(
        formula.ljust(column) + remark if remark else formula for formula, remark in lines
    )


def mixer_source(file: str) -> str:
    """Returns the text of a file of the mixer library, without importing it, hence torch."""
    return resources.files("move37").joinpath("nn", "mixers", file).read_text("utf-8")
