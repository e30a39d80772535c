"""Verifies the mixer of a file or folder: every check, in the lab's child process, no training."""

import ast
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from move37.catalogue import find
from move37.lab.client import Lab, Progress
from move37.presets import CHECKS
from move37.records import (
    Audit,
    Audited,
    Crashed,
    Folder,
    InputError,
    Level,
    Rejected,
    SourceFile,
)

# About the size of a laptop run's mixers, twice over.
WIDTH, HEADS = 64, 4
# For loading and all checks together, where no other limit is given.
LIMIT_SECONDS: Mapping[Level, float] = {"quick": 120.0, "full": 600.0}
LIMIT_BYTES = 4 << 30
# Of a folder. A package of layers has some forty files, and half of this.
MOST_FILES = 64
MOST_BYTES = 1 << 20

# All but the one that asks for a task's budget of parameters.
NAMES = tuple(name for name in CHECKS if name != "fits")


class Target(NamedTuple):
    """A file or a folder, and the mixer in it that is meant; None: the only one of the file."""

    file: Path
    mixer: str | None

    @property
    def name(self) -> str:
        """The last part of the path, also of '.'."""
        return self.file.name or self.file.resolve().name


def target_of(text: str) -> Target:
    """Reads FILE, FILE:CLASS or FOLDER:CLASS."""
    file, colon, mixer = text.rpartition(":")
    if colon and mixer.isidentifier() and not Path(text).exists():
        return Target(Path(file), mixer)
    return Target(Path(text), None)


def checks_of(only: Sequence[str]) -> tuple[str, ...]:
    """Returns these checks in their order, or all; raises InputError for an unknown name.

    One word may hold several names, with commas between them.
    """
    asked = [name.strip() for word in only for name in word.split(",")]
    unknown = [name for name in asked if name not in NAMES]
    if unknown:
        raise InputError(f"no check {unknown[0]!r}: expected one of {', '.join(NAMES)}")
    return tuple(name for name in NAMES if not asked or name in asked)


def make_audit(
    target: Target,
    *,
    only: Sequence[str] = (),
    level: Level,
    width: int,
    heads: int,
    limit_seconds: float | None = None,
) -> Audit:
    """Returns the audit of a mixer; raises InputError if the file or a check's name is no good."""
    checks = checks_of(only)
    file, folder = target.file, None
    if file.is_dir():
        file, folder = _of_folder(target)
    source = _text_of(file)
    _look_at(source, file)
    seconds = limit_seconds or LIMIT_SECONDS[level]
    sizes = (level, width, heads, seconds, LIMIT_BYTES)
    return Audit(source, target.mixer, checks, *sizes, folder)


def _text_of(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        told = f"cannot read {file}: {error.strerror}{_in_library(file)}"
        raise InputError(told) from None
    except UnicodeDecodeError:
        raise InputError(f"{file} is not UTF-8 text: expected a Python file") from None


def _of_folder(target: Target) -> tuple[Path, Folder]:
    """Returns the file of a folder in which the mixer is, and the files beside it.

    Raises InputError if there is no such file, or more than MOST_FILES files or MOST_BYTES bytes.
    """
    texts = _texts_of(target)
    holds = {path: _classes_of(text) for path, text in texts.items()}
    found = [path for path, classes in holds.items() if target.mixer in classes]
    if len(found) != 1:
        known = sorted({name for classes in holds.values() for name in classes})
        some = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
        meant = f"{target.file}:{target.mixer or 'CLASS'}"
        what = (
            f"class {target.mixer} stands in {' and '.join(found)}"
            if found
            else (f"expected FOLDER:CLASS with a class of its files ({some or 'there is none'})")
        )
        raise InputError(f"{meant} cannot be verified: {what}")
    (program,) = found
    others = tuple(SourceFile(path, text) for path, text in texts.items() if path != program)
    return target.file / program, Folder(target.name, program, others)


def _texts_of(target: Target) -> dict[str, str]:
    """Returns the Python files of a folder, by their paths below it; none of hidden folders."""
    texts, size = dict[str, str](), 0
    for file in target.file.rglob("*.py"):
        path = file.relative_to(target.file)
        hidden = any(part.startswith((".", "__pycache__")) for part in path.parts)
        if hidden or not file.is_file():
            continue
        size += file.stat().st_size
        if len(texts) == MOST_FILES or size > MOST_BYTES:
            raise InputError(
                f"{target.file} has more than {MOST_FILES} Python files, or more than "
                f"{MOST_BYTES:,} bytes in them: name the folder of the package itself"
            )
        texts[path.as_posix()] = _text_of(file)
    return dict(sorted(texts.items()))


def _classes_of(text: str) -> list[str]:
    """Returns the classes of a file; none if it is no Python, which Python says when it runs it."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [node.name for node in tree.body if isinstance(node, ast.ClassDef)]


def _in_library(file: Path) -> str:
    """Says where the mixer lies whose name was given in place of a file, if it is one's name."""
    try:
        entry = find(str(file))
    except InputError:
        return ""
    return f". The library's {entry.name} is checked by: move37 verify {entry.path}"


def _look_at(source: str, file: Path) -> None:
    """Raises InputError for what is no program at all, before anybody waits for the lab."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        line = (error.text or "").strip()[:200]
        at = f" at line {error.lineno}: {line}" if error.lineno else ""
        told = f"SyntaxError: {error.msg}{at}"
        raise InputError(f"{file} cannot be verified: {told}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # nested too deeply, for one
        told = f"{type(error).__name__}: {error}"
        raise InputError(f"{file} cannot be verified: {told}") from None
    if file.suffix == ".ipynb":
        raise InputError(f"{file} is a notebook: expected a Python file with the layer in it")
    if not tree.body:
        raise InputError(f"{file} is empty: expected a program with one public nn.Module class")


def verify(
    audit: Audit,
    file: Path | None,
    lab: Lab,
    progress: Progress = lambda stage: None,
    tell: Callable[[Audited], None] = lambda so_far: None,
    begin: Callable[[Callable[[], None]], None] = lambda end: None,
) -> Audited:
    """Returns every verdict; what time or the end of the process left over was not run.

    `file` is None if the program came as text. `progress` is told each stage, `tell` the verdicts
    so far; `begin` as for `Lab.audit`. Raises InputError if there is nothing to verify: the
    program cannot be loaded, has no mixer, or one that cannot be built at this size.
    """
    what = file or "the program"
    outcome = lab.audit(audit, progress, tell, begin)
    if isinstance(outcome, Rejected):
        told = f"{outcome.evidence}{_advice(audit, file)}" if outcome.check == "interface" else ""
        raise InputError(f"{what} cannot be verified: {told or outcome.evidence}")
    if isinstance(outcome, Crashed):
        raise InputError(
            f"{what} cannot be verified, at the stage {outcome.stage}: {outcome.error}"
        )
    return outcome


def _advice(audit: Audit, file: Path | None) -> str:
    """Says what to do about a program of which no mixer can be taken, by the classes in it."""
    takes = {
        node.name: _arguments(node)
        for node in ast.parse(audit.source).body
        if isinstance(node, ast.ClassDef) and _arguments(node)
    }
    mixers = [name for name, arguments in takes.items() if "heads" in arguments]
    if mixers and audit.mixer is None:
        return f". For example: {file}:{mixers[0]}" if file else ""
    name = audit.mixer or next(reversed(takes), "")
    if name not in takes:
        return ""
    return (
        f". {name} is built from ({', '.join(takes[name])}): put a class beside it whose "
        f"__init__(self, dim, *, heads) builds {name}, and whose forward calls it, as "
        "docs/add-a-mixer.md shows under 'A layer that is built from something else'"
    )


def _arguments(kind: ast.ClassDef) -> list[str]:
    """Returns what the constructor of a layer takes; nothing for a class without a forward."""
    found = {one.name: one.args for one in kind.body if isinstance(one, ast.FunctionDef)}
    if "forward" not in found or "__init__" not in found:
        return []
    taken = found["__init__"]
    return [one.arg for one in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)][1:]
