"""The mixers of the library as the office knows them: by their text.

What is told of each is read from the docstring of its class, so that the list cannot say more
than the source does. `tests/test_catalogue.py` asks that every docstring can be read.
"""

import ast
import functools
import re
from dataclasses import dataclass
from importlib import resources
from textwrap import dedent

from move37.records import InputError


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

    @property
    def source(self) -> str:
        """The text of its file."""
        return mixer_source(self.file)


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
    """Returns the mixer of that class name or file name; raises InputError naming all."""
    wanted = name.lower().removesuffix(".py").replace("_", "").replace("-", "")
    for entry in catalogue():
        if wanted == entry.name.lower():
            return entry
        if wanted == entry.file.removesuffix(".py").replace("_", ""):
            return entry
    names = ", ".join(entry.name for entry in catalogue())
    raise InputError(f"no mixer {name!r} in the library: expected one of {names}")


def _entry(name: str, file: str) -> Entry:
    tree = ast.parse(mixer_source(file))
    docstring = next(
        ast.get_docstring(node) or ""
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == name
    )
    paragraphs = docstring.split("\n\n")
    recurrence = _aligned("\n".join(part for part in paragraphs if part.startswith("    ")))
    flowing = " ".join(docstring.split())
    cost = re.search(r"Time (O\(.*?\))[;,.] [Tt]he state (?:holds )?(.*?)\.(?: |$)", flowing)
    papers = re.findall(r"([A-Z]\w+(?: \w+)? et al\.)[^:]{0,12}arXiv:(\d{4}\.\d{5})", flowing)
    if not (recurrence and cost and papers):
        raise ValueError(f"the docstring of {name} lacks recurrence, cost or paper")
    author, number = papers[-1]
    return Entry(
        name=name,
        file=file,
        summary=paragraphs[0],
        recurrence=recurrence,
        paper=f"{author} arXiv:{number}",
        time=cost[1],
        state=cost[2],
    )


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
