"""`move37 verify`: what is asked for, and what is told of it; without the lab."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from move37.auditing import NAMES, Target, checks_of, make_audit, target_of, verify
from move37.records import (
    Audit,
    Audited,
    CheckResult,
    Folder,
    InputError,
    Rejected,
    SourceFile,
    from_json,
    to_json,
)
from move37.terminal import AuditPage

# ---------------------------------------------------------------- what is asked for


def audit_of(tmp_path: Path, text: str, mixer: str | None = None) -> Audit:
    file = tmp_path / "two.py"
    file.write_text(text)
    return make_audit(Target(file, mixer), level="quick", width=64, heads=4)


def test_names_of_checks_may_have_commas_between_them() -> None:
    assert checks_of(["prefix, causality", "memory"]) == ("causality", "prefix", "memory")


def test_an_unknown_name_among_commas_is_told() -> None:
    with pytest.raises(InputError, match="no check 'causal': expected one of interface,"):
        checks_of(["prefix,causal"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\ndef f(:", "SyntaxError: invalid syntax at line 2: def f(:"),
        ("x = '\0'", "cannot be verified: SyntaxError: source code string cannot contain null"),
        ("", "two.py is empty: expected a program with one public nn.Module class"),
        ("# nothing but a comment", "is empty"),
    ],
)
def test_what_is_no_program_is_told_before_anybody_waits_for_the_lab(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(InputError) as caught:
        audit_of(tmp_path, text)
    assert told in str(caught.value)


# ---------------------------------------------------------------- which mixer

LAYER = """
class {name}(nn.Module):
    def __init__(self, {takes}): ...
    def forward(self, x): ...
"""


class _Refusing:
    """A lab that finds no mixer."""

    def audit(self, *_: Any) -> Rejected:
        return Rejected("interface", "found none")


def advice(audit: Audit) -> str:
    lab: Any = _Refusing()
    with pytest.raises(InputError) as caught:
        verify(audit, Path("folder/two.py"), lab)
    return str(caught.value)


def test_a_layer_that_is_built_from_a_config_is_told_what_to_write(tmp_path: Path) -> None:
    text = LAYER.format(name="Quad", takes="config")
    told = advice(audit_of(tmp_path, text))
    assert "Quad is built from (config): put a class beside it whose" in told
    heading = told.split("under '")[1].rstrip("'")
    how_to = (Path(__file__).parent.parent / "docs" / "add-a-mixer.md").read_text()
    assert f"## {heading}\n" in how_to


def test_of_several_mixers_one_is_named_as_it_is_to_be_typed(tmp_path: Path) -> None:
    text = "".join(LAYER.format(name=name, takes="dim, *, heads") for name in ("Dual", "Quad"))
    assert advice(audit_of(tmp_path, text)).endswith("For example: folder/two.py:Dual")


def test_where_no_layer_is_found_nothing_is_advised(tmp_path: Path) -> None:
    assert advice(audit_of(tmp_path, "x = 1")).endswith("found none")


# ---------------------------------------------------------------- what is told

FOUND = (
    CheckResult("interface", "passed", "keeps (B, T, D)", 0.5),
    CheckResult("causality", "failed", "output 31 hears input 32 " * 5, 1.0),
    CheckResult("prefix", "not run", "the time ran out in causality"),
)


def printed(audited: Audited, tmp_path: Path, *, width: int = 80, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, highlight=False)
    page = AuditPage(console, audit_of(tmp_path, "x = 1"), "two.py")
    for n in range(len(audited.checks)):
        page.tell(Audited(audited.mixer, audited.checks[:n]))
    page.end(audited, 7.0)
    return out.getvalue()


def test_each_verdict_is_one_line_of_a_file_however_wide_a_terminal_would_be(
    tmp_path: Path,
) -> None:
    title, *rows, _ = printed(Audited("Quad", FOUND), tmp_path).splitlines()
    assert title == "Quad of two.py, width 64, 4 heads"
    assert [row.split()[0] for row in rows] == ["interface", "causality", "prefix"]


def test_each_verdict_is_told_once(tmp_path: Path) -> None:
    assert printed(Audited("Quad", FOUND), tmp_path).count("keeps (B, T, D)") == 1


def test_rows_fit_into_a_terminal(tmp_path: Path) -> None:
    text = printed(Audited("Quad", FOUND), tmp_path, width=80, terminal=True)
    assert "hears input 32 output 31\n" not in text
    assert len(text.splitlines()) > 5


def test_the_sum_says_how_long_it_took_and_what_of_it_were_checks(tmp_path: Path) -> None:
    told = printed(Audited("Quad", FOUND), tmp_path).splitlines()[-1]
    assert told == "1 passed, 1 failed, 1 not run; 7 s, 2 of them for the checks; quick level"


def test_that_a_program_prints_is_noted(tmp_path: Path) -> None:
    told = printed(Audited("Quad", FOUND, printed_lines=1234), tmp_path)
    assert told.endswith("The program printed 1,234 lines.\n")


def test_every_check_can_be_asked_for() -> None:
    assert checks_of(()) == NAMES


# ---------------------------------------------------------------- a folder of several files


def folder_of(tmp_path: Path, **texts: str) -> Path:
    """Names of files as keywords: norms__rms is norms/rms.py."""
    folder = tmp_path / "layers"
    for name, text in texts.items():
        file = folder / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def audit_in(folder: Path, mixer: str | None) -> Audit:
    return make_audit(Target(folder, mixer), level="quick", width=64, heads=4)


def test_the_files_of_a_folder_go_together(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, mixer="class Mine: ...", norms__rms="class RMSNorm: ...")
    audit = audit_in(folder, "Mine")
    assert audit.source == "class Mine: ..."
    others = (SourceFile("norms/rms.py", "class RMSNorm: ..."),)
    assert audit.folder == Folder("layers", "mixer.py", others)


def test_of_the_users_machine_only_the_folders_name_goes_along(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, mixer="class Mine: ...", norms__rms="class RMSNorm: ...")
    assert str(tmp_path) not in to_json(audit_in(folder, "Mine"))


def test_an_audit_of_a_folder_is_read_as_it_was_written(tmp_path: Path) -> None:
    audit = audit_in(folder_of(tmp_path, mixer="class Mine: ...", norm="x = 1"), "Mine")
    assert from_json(Audit, to_json(audit)) == audit


def test_a_folder_needs_the_name_of_a_class(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, mixer="class Mine: ...", norm="class RMSNorm: ...")
    told = r"layers:CLASS cannot be verified: expected FOLDER:CLASS .*\(Mine, RMSNorm\)"
    with pytest.raises(InputError, match=told):
        audit_in(folder, None)
    with pytest.raises(InputError, match="layers:Other cannot be verified"):
        audit_in(folder, "Other")


def test_a_class_that_two_files_have_is_refused_with_both(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, a="class Mine: ...", b="class Mine: ...")
    with pytest.raises(InputError, match=r"class Mine stands in a\.py and b\.py"):
        audit_in(folder, "Mine")


@pytest.mark.parametrize("count", [65, 2])
def test_a_folder_of_many_files_or_bytes_is_refused(tmp_path: Path, count: int) -> None:
    text = "class Mine: ...\n" + "#" * ((1 << 20) // count if count == 2 else 1)
    folder = folder_of(tmp_path, **{f"n{n}": text for n in range(count)})
    with pytest.raises(InputError, match="more than 64 Python files, or more than 1,048,576 bytes"):
        audit_in(folder, "Mine")


def test_hidden_folders_are_left_out(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, mixer="class Mine: ...", **{".venv__torch": "class Mine: ..."})
    audit = audit_in(folder, "Mine")
    assert audit.folder is not None
    assert audit.folder.others == ()


def test_a_folder_may_be_the_one_that_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder_of(tmp_path, mixer="class Mine: ..."))
    audit = make_audit(target_of(".:Mine"), level="quick", width=64, heads=4)
    assert audit.folder is not None
    assert audit.folder.name == "layers"
