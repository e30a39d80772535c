"""Who may import whom: the table of docs/design.md, read from the source with `ast`."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import move37

ROOT = Path(move37.__file__).parent
OFFICE = {
    "records",
    "results",
    "history",
    "statistics",
    "knowledge",
    "research",
    "search",
    "store",
    "lab.client",
}
COMPOSED = OFFICE | {"presets", "loop", "catalogue", "experiments"}
MAY_IMPORT: dict[str, set[str]] = {
    "records": set(),
    "results": {"records"},
    "history": {"records", "results"},
    "statistics": {"records"},
    "knowledge": {"records"},
    "research": {"records", "results", "history", "statistics", "knowledge"},
    "search": {"records", "results", "history", "statistics"},
    "store": {"records"},
    "lab.client": {"records", "lab.sandbox", "lab.words"},
    "lab.sandbox": set(),
    "lab.words": {"records"},
    # Of the others, what it runs in processes of their own.
    "lab.zygote": {
        "records",
        "lab.family",
        "lab.sandbox",
        "lab.words",
        "lab.link",
        "lab.measuring",
        "lab.answering",
        "lab.worker",
    },
    "lab.family": {"lab.sandbox", "lab.words", "lab.link"},
    # Outside of the candidate's process: nothing that loads a program.
    "lab.link": {"lab.words"},
    "lab.remote": {"lab.link", "lab.words", "nn"},
    "lab.recompute": {"records", "lab.remote", "lab.words", "nn", "verify"},
    "lab.measuring": {"records", "lab.recompute", "lab.remote", "lab.words", "lab.scoring"},
    "lab.scoring": {
        *("records", "lab.costing", "lab.link", "lab.recompute", "lab.remote", "nn", "tasks"),
        "train",
    },
    "lab.costing": {
        *("records", "lab.link", "lab.recompute", "lab.remote", "nn", "tasks", "train"),
    },
    "lab.tape": {"nn"},
    # Within it: no task.
    "lab.answering": {
        *("records", "lab.link", "lab.loading", "lab.tape", "lab.words", "lab.worker", "nn"),
        "verify",
    },
    "lab.worker": {"records", "lab.loading", "verify", "nn"},
    "lab.loading": {"lab.gate", "nn", "records", "verify"},
    "lab.gate": set(),
    "verify": {"records", "nn"},
    "nn": set(),
    "tasks": set(),
    "train": {"records", "nn", "tasks"},
    "presets": {"records", "search", "catalogue"},
    "catalogue": {"records"},
    "loop": OFFICE | {"presets"},
    "experiments": OFFICE | {"presets"},
    "importing": OFFICE | {"presets", "loop", "auditing"},
    "agents": OFFICE | {"presets", "loop", "devices", "web"},
    "serving": OFFICE | {"presets", "loop", "agents", "auditing", "experiments"},
    "auditing": {"records", "lab.client", "presets", "catalogue"},
    "interrupts": set(),
    "streams": {"records"},
    "limits": {"records"},
    "devices": {"records"},
    "asking": OFFICE | {"presets"},
    "doctor": COMPOSED | {"lab.sandbox", "asking", "devices"},
    "terminal": COMPOSED,
    "session": COMPOSED | {"terminal", "web", "interrupts", "asking"},
    "cli": COMPOSED
    | {"terminal", "session", "doctor", "asking", "auditing", "importing", "web"}
    | {"agents", "serving", "interrupts", "streams", "limits", "devices"},
    "__main__": {"cli"},
    "web": {"records", "results", "search", "store", "presets"},
}
MAY_IMPORT_TORCH = {
    "lab.link",
    "lab.remote",
    "lab.recompute",
    "lab.scoring",
    "lab.costing",
    "lab.tape",
    "lab.answering",
    "lab.worker",
    "lab.loading",
    "lab.gate",
    "verify",
    "nn",
    "tasks",
    "train",
}


def _part(module: str) -> str | None:
    """move37.lab.client -> lab.client, move37.search.pool -> search, move37 -> None."""
    names = module.split(".")[1:]
    if not names:
        return None
    return ".".join(names[:2]) if names[0] == "lab" and len(names) > 1 else names[0]


def _imports(file: Path) -> set[str]:
    """All modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(
    file for file in ROOT.rglob("*.py") if file.name != "__init__.py" or file.stat().st_size
)


def _own_part(file: Path) -> str | None:
    path = file.relative_to(ROOT.parent).with_suffix("")
    return _part(".".join(path.parts).removesuffix(".__init__"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_imports_what_its_package_may_and_nothing_else(file: Path) -> None:
    own = _own_part(file)
    if own is None:
        return
    modules = {path.stem for path in ROOT.glob("*.py")} | {path.name for path in ROOT.iterdir()}
    used = {
        part
        for module in _imports(file)
        if module.startswith("move37.")
        and (part := _part(module))
        and part.split(".")[0] in modules
    }
    assert used - MAY_IMPORT[own] - {own, "lab"} - {"__version__"} == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_office_never_names_torch(file: Path) -> None:
    own = _own_part(file)
    if own in MAY_IMPORT_TORCH:
        return
    assert not {m for m in _imports(file) if m.split(".")[0] == "torch"}


def _loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_move37_and_its_command_line_does_not_load_torch() -> None:
    loaded = _loaded_by("import move37.cli, move37.session, move37.doctor, move37.terminal")
    assert "torch" not in loaded


def test_move37_top_does_not_load_torch() -> None:
    code = "import sys, move37.cli\nsys.argv = ['move37', 'top', '--store', '/none']\n"
    code += "try: move37.cli.main()\nexcept SystemExit: pass"
    loaded = _loaded_by(code)
    assert "move37.store.store" in loaded
    assert "torch" not in loaded


def test_reading_the_baselines_and_the_catalogue_does_not_load_torch() -> None:
    code = "from move37 import catalogue, presets\n"
    code += "texts = [one.proposal().source for one in presets.LAPTOP.baselines]\n"
    code += "assert all(texts) and catalogue.mixer_source('delta_net.py') in texts"
    assert "torch" not in _loaded_by(code)


def test_importing_the_package_alone_loads_nothing_but_itself() -> None:
    before = _loaded_by("pass")
    assert {name.split(".")[0] for name in _loaded_by("import move37") - before} == {"move37"}
