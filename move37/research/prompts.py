"""The prompts of the roles: Markdown files with a version, in two parts, system and request.

Covered: only what an outside reader may see goes in: no paths of this machine.
"""

import ast
import functools
import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from move37.research.syntax import quietly

# Two or more folders from the root on, or /root; a division or a fraction has no such form. What
# stands before it is asked after the slash: so only slashes are looked at. A letter stands there
# in `-I/home/me/include` only, three slashes in `file:///home/me/x`.
_NAME = r"[\w.@+~-]+"
_ROOTS = r"(?:home|Users|root|usr|opt|tmp|var|mnt|media|srv|etc|nfs|scratch|data|work|workspace)\b"
_PATH = re.compile(
    rf"/(?:(?<![\w./]/)|(?<=:///)|(?<=:////)|(?<=-[a-zA-Z]/)(?<!\w-\w/)(?={_ROOTS}))"
    rf"(?:{_NAME}(?:/{_NAME})+|root(?![\w-]))/?"
)


@dataclass(frozen=True)
class Prompt:
    """The templates of one role."""

    role: str
    version: str  # the number in the file, and the hash of its text
    system: str
    request: str

    def render(self, **values: Any) -> tuple[str, str]:
        """Returns system and request, filled in; raises jinja2's UndefinedError for a gap."""
        system, request = (
            _template(part).render(values).strip() for part in (self.system, self.request)
        )
        return public(system), public(request)


@functools.cache
def _template(text: str) -> Template:
    fill = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return fill.from_string(text)


@functools.cache
def prompt(role: str) -> Prompt:
    """Returns the prompt of a role."""
    text = resources.files("move37.research").joinpath(f"prompts/{role}.md").read_text("utf-8")
    head, _, rest = text.partition("\n")
    number = head.removeprefix("version:").strip()
    system, _, request = rest.partition("\n---\n")
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return Prompt(role, f"{role} {number} {digest}", system, request)


def public(text: str, home: Path | None = None) -> str:
    """Returns the text without paths of this machine; `home` is the folder of its user."""
    place = str(home or Path("~").expanduser())
    if len(Path(place).parts) > 2 and place in text:  # it may hold spaces
        text = re.sub(rf"{re.escape(place)}(?![\w-])(?:/{_NAME})*/?", "<path>", text)
    return _PATH.sub("<path>", text)


@functools.cache
def operators() -> str:
    """Returns signature and first sentence of every operator that a program may use."""
    folder = Path(__file__).parents[1] / "nn" / "ops"
    documented = _functions(folder / "reference.py")
    written = _functions(folder / "__init__.py")
    names = [name for name in written if not name.startswith("_") and not name.endswith("_step")]
    # What `ops` passes on as it is; not softmax attention, which is quadratic.
    names += ["momentum_delta_rule", "short_convolution", "sliding_window_attention"]
    shown = []
    for name in names:
        function = written.get(name) or documented[name]
        told = ast.get_docstring(documented.get(name, function)) or ""
        sentence = " ".join(told.split("\n\n")[0].split())
        shown.append(f"    ops.{name}({ast.unparse(function.args)})\n        {sentence}")
    return "\n".join(shown)


def _functions(file: Path) -> dict[str, ast.FunctionDef]:
    with quietly():  # another worker may parse just then, which CPython does not bear
        tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
