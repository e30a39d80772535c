"""Other people's collections: read strictly, examined once, kept, gone on with."""

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from move37 import importing
from move37.importing import (
    CheckTable,
    Collection,
    Summary,
    audit,
    default_store,
    settings,
    train,
    verify,
)
from move37.presets import SMOKE
from move37.records import (
    Audit,
    Audited,
    CheckResult,
    Crashed,
    InputError,
    Lesson,
    Measured,
    Outcome,
    Record,
    Rejected,
    Verdict,
)
from move37.store.store import Store
from move37.terminal import import_line
from tests.fakes import FakeLab, Memory, preset
from tests.test_cli import HONEST, move37, program

CHECKS = ("interface", "causality")
QUICK: dict[str, Any] = {"checks": CHECKS, "level": "quick"}


def entry(name: str = "Mine", source: str = "x = 1", **more: object) -> dict[str, Any]:
    return {"name": name, "program": source, "motivation": "why not", **more}


def collection(*entries: object, at: Path, only: tuple[str, ...] = ()) -> Collection:
    file = at / "collection.json"
    file.write_text(json.dumps(list(entries)))
    return Collection.read(file, only=only)


def verified(what: Collection, lab: FakeLab, store: Store) -> list[Record]:
    return list(verify(what, SMOKE, lab, store, checks=CHECKS, level="quick", workers=2))


# ---------------------------------------------------------------- reading


def test_other_keys_are_passed_over(tmp_path: Path) -> None:
    (proposal,) = collection(entry(score=3.5, parent=7), at=tmp_path).proposals
    assert (proposal.name, proposal.source, proposal.origin) == ("Mine", "x = 1", "imported")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[", "is not JSON: Expecting value: line 1 column 2"),
        ("[]", "got an empty list"),
        ("{}", "expected a JSON list of objects with name, program, motivation, got an object"),
        ("[3]", "entry 0: expected an object with name, program, motivation, got a number"),
        ('[{"name": "A", "program": "x"}]', "entry 0: expected text for 'motivation', got no such"),
        ('[{"name": 3, "program": "x", "motivation": ""}]', "expected text for 'name', got a num"),
        ('[{"name": "A", "program": " ", "motivation": ""}]', "must not be empty"),
        ('[{"name": "A\\nB", "program": "x", "motivation": ""}]', "expected one line without con"),
        ('[{"name": "A", "program": "\\ud800", "motivation": ""}]', "'program' holds half a char"),
        (f"[{'9' * 5000}]", "is not JSON: Exceeds the limit"),
    ],
)
def test_what_is_no_collection_is_told_what_was_expected(
    text: str, told: str, tmp_path: Path
) -> None:
    file = tmp_path / "collection.json"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        Collection.read(file)
    assert told in str(caught.value)


def test_only_those_that_are_named_are_taken(tmp_path: Path) -> None:
    chosen = collection(entry("A", "a = 1"), entry("B", "b = 1"), at=tmp_path, only=("B",))
    assert [proposal.name for proposal in chosen.proposals] == ["B"]


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "collection.json"
    file.write_text(json.dumps([entry()]), "utf-8-sig")
    assert Collection.read(file).proposals[0].name == "Mine"


def test_programs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    entries = [entry(name, f"x = {n}") for n, name in enumerate(["A", "A", "A-2", "A"])]
    names = [proposal.name for proposal in collection(*entries, at=tmp_path).proposals]
    assert names == ["A", "A-3", "A-2", "A-4"]


def test_a_name_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no program 'C'"):
        collection(entry("A"), at=tmp_path, only=("C",))


# ---------------------------------------------------------------- verifying and training


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store.sqlite", create=True)


def test_every_program_becomes_a_record_of_origin_imported(tmp_path: Path, store: Store) -> None:
    what = collection(entry("A", "a = 1"), entry("B", "FAIL"), entry("C", "CRASH"), at=tmp_path)
    records = verified(what, FakeLab(), store)
    assert [type(r.outcome).__name__ for r in records] == ["Measured", "Rejected", "Crashed"]
    assert {r.candidate.proposal.origin for r in records} == {"imported"}
    assert store.records() == records


def test_without_training_only_checks_are_asked_for(tmp_path: Path, store: Store) -> None:
    lab = FakeLab()
    verified(collection(entry(), at=tmp_path), lab, store)
    (assignment,) = lab.assignments
    assert assignment.checks == CHECKS
    assert assignment.seeds == ()


def test_an_import_goes_on_where_it_was(tmp_path: Path, store: Store) -> None:
    what = collection(entry("A", "a = 1"), entry("B", "b = 1"), at=tmp_path)
    next(iter(verify(what, SMOKE, FakeLab(), store, checks=CHECKS, level="quick", workers=1)))
    lab = FakeLab()
    verified(what, lab, store)
    assert [r.candidate.proposal.name for r in store.records()] == ["A", "B"]
    assert [assignment.source for assignment in lab.assignments] == ["b = 1"]


def test_the_same_program_twice_is_examined_once(tmp_path: Path, store: Store) -> None:
    what = collection(entry("A", "a = 1"), entry("B", "a = 1  # mine"), at=tmp_path)
    lab = FakeLab()
    _, second = verified(what, lab, store)
    assert isinstance(second.outcome, Rejected)
    assert second.outcome.evidence == "the same program as A of experiment 0"
    assert len(lab.assignments) == 1


def test_a_refused_program_leaves_a_lesson(tmp_path: Path, store: Store) -> None:
    verified(collection(entry("A", "a = 1"), entry("B", "FAIL"), at=tmp_path), FakeLab(), store)
    (lesson,) = store.lessons()
    assert lesson.text == "B was not measured; refused by the check 'causality': it leaks."


def test_the_summary_counts_programs_by_how_they_ended(tmp_path: Path, store: Store) -> None:
    sources = ["a = 1", "FAIL", "FAIL = 2", "CRASH"]
    what = collection(*[entry(f"P{n}", one) for n, one in enumerate(sources)], at=tmp_path)
    summary = Summary.of(verified(what, FakeLab(), store))
    assert summary.told() == (
        "4 programs: 1 passed; 2 stopped by causality; 1 stopped by a crash (load)"
    )


def test_an_imported_program_descends_from_none(tmp_path: Path, store: Store) -> None:
    what = collection(*[entry(f"P{n}", f"x = {n}") for n in range(6)], at=tmp_path)
    records = list(train(what, preset(ruler=None), FakeLab(), store, workers=2))
    assert {record.parents for record in records} == {()}


def test_training_with_more_workers_gives_the_same_records(tmp_path: Path, store: Store) -> None:
    what = collection(*[entry(f"P{n}", f"x = {n}") for n in range(6)], at=tmp_path)
    records = list(train(what, preset(ruler=None), FakeLab(jitter=0.02), store, workers=6))
    with Store.open(tmp_path / "one.sqlite", create=True) as other:
        alone = list(train(what, preset(ruler=None), FakeLab(), other, workers=1))
    assert len(records) == len(alone)
    assert all(a.same_as(b) for a, b in zip(records, alone, strict=True))


def test_training_goes_on_where_it_was(tmp_path: Path, store: Store) -> None:
    what = collection(*[entry(f"P{n}", f"x = {n}") for n in range(4)], at=tmp_path)
    for record in train(what, preset(ruler=None), FakeLab(), store, workers=1):
        if record.candidate.proposal.name == "P1":
            break
    list(train(what, preset(ruler=None), FakeLab(), store, workers=1))
    names = dict.fromkeys(r.candidate.proposal.name for r in store.records() if r.experiment > 4)
    assert list(names) == ["P0", "P1", "P2", "P3"]


def test_training_measures_the_baselines_beside(tmp_path: Path, store: Store) -> None:
    what = collection(entry("A", "a = 1"), entry("B", "FAIL"), at=tmp_path)
    records = list(train(what, preset(ruler=None), FakeLab(), store, workers=2))
    baselines = [r for r in records if r.candidate.proposal.is_baseline]
    assert len(baselines) == 5
    imported = {
        r.candidate.proposal.name: r.outcome for r in records if r.candidate.proposal.name in "AB"
    }
    assert isinstance(imported["A"], Measured)
    assert isinstance(imported["B"], Rejected)


def test_another_collection_has_other_settings(tmp_path: Path) -> None:
    one, other = (
        settings(
            collection(entry("A", text), at=tmp_path),
            SMOKE,
            checks=CHECKS,
            level="quick",
            trained=False,
        )
        for text in ("a = 1", "a = 2")
    )
    assert one != other


@pytest.mark.parametrize("trained", [False, True])
def test_two_ways_through_one_collection_have_two_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    what = collection(entry(), at=tmp_path)
    stores = {
        default_store(what, SMOKE, only=only, level=level, trained=trained)
        for only in ((), ("causality",), ("causality", "prefix"))
        for level in ("quick", "full")
    }
    assert len(stores) == 6
    assert all(store.parent.is_dir() for store in stores)


def test_an_imported_program_that_cannot_be_loaded_is_told_with_its_line(
    tmp_path: Path, store: Store
) -> None:
    (record,) = verified(collection(entry("A", "CRASH"), at=tmp_path), FakeLab(), store)
    error = "ZeroDivisionError: division by zero\nline 3: f()\nline 2: return 1 / 0"
    line = import_line(replace(record, outcome=Crashed("load", error)))
    assert line.plain.endswith("division by zero at line 2: return 1 / 0")


def test_what_has_ended_is_kept_while_a_slow_program_before_it_goes_on(tmp_path: Path) -> None:
    kept = threading.Semaphore(0)

    class Telling(Memory):
        def append(self, records: Sequence[Record], lessons: Sequence[Lesson] = ()) -> None:
            super().append(records, lessons)
            kept.release()

    class FirstWaits(FakeLab):
        def examine(self, assignment: Any, progress: Any = lambda stage: None) -> Outcome:
            if assignment.source == "x = 0":
                for _ in range(5):  # all others are kept
                    assert kept.acquire(timeout=60)  # a bound against hanging
            return super().examine(assignment, progress)

    what = collection(*[entry(f"P{n}", f"x = {n}") for n in range(6)], at=tmp_path)
    found = verify(what, SMOKE, FirstWaits(), Telling(), **QUICK, workers=2)
    names = [record.candidate.proposal.name for record in found]
    assert names == [f"P{n}" for n in range(6)]  # in the order of the collection all the same


def test_an_import_goes_on_with_the_programs_that_are_missing(tmp_path: Path, store: Store) -> None:
    what = collection(*[entry(f"P{n}", f"x = {n}") for n in range(4)], at=tmp_path)
    with Store.open(tmp_path / "whole.sqlite", create=True) as whole:
        records = verified(what, FakeLab(), whole)
    for n in (1, 3):
        store.append([records[n]])
    lab = FakeLab()
    names = [record.candidate.proposal.name for record in verified(what, lab, store)]
    assert names == ["P0", "P2"]
    assert [one.source for one in lab.assignments] == ["x = 0", "x = 2"]
    assert [record.experiment for record in store.records()] == [0, 1, 2, 3]


# ---------------------------------------------------------------- every check of every program


class AuditingLab:
    """Audits by the words in a program: LEAKS, QUADRATIC, REFUSED, CRASHED."""

    def __init__(self) -> None:
        self.audits: list[Audit] = []

    def audit(self, audit: Audit) -> Audited | Rejected | Crashed:
        self.audits.append(audit)
        if "REFUSED" in audit.source:
            return Rejected("imports", "line 1 imports os: a mixer computes with tensors")
        if "CRASHED" in audit.source:
            return Crashed("load", "ZeroDivisionError: no")
        verdicts: dict[str, Verdict] = {
            "causality": "failed" if "LEAKS" in audit.source else "passed",
            "sub-quadratic": "failed" if "QUADRATIC" in audit.source else "passed",
            "decoding": "not offered",
        }
        checks = [CheckResult(name, verdicts[name], f"{name} | seen") for name in audit.checks]
        return Audited("Mine", tuple(checks))


ALL = ("causality", "sub-quadratic", "decoding")


def audited(what: Collection, lab: AuditingLab, store: Store) -> list[Record]:
    made = audit(what, SMOKE, lab, store, checks=ALL, level="quick", workers=2)
    return sorted(made, key=lambda record: record.experiment)


@pytest.fixture
def table(tmp_path: Path, store: Store) -> CheckTable:
    sources = {
        "Honest": "a = 1",
        "Leaks": "LEAKS",
        "Both|of": "LEAKS and QUADRATIC",
        "One": "REFUSED = 1",
        "Two": "REFUSED = 2",
        "Crash": "CRASHED",
        "Again": "a = 1  # again",
    }
    what = collection(*[entry(name, text) for name, text in sources.items()], at=tmp_path)
    return CheckTable("A collection", "quick", ALL, tuple(audited(what, AuditingLab(), store)))


def test_every_check_of_a_program_is_kept_also_after_one_has_failed(
    tmp_path: Path, store: Store
) -> None:
    (record,) = audited(
        collection(entry("A", "LEAKS, QUADRATIC"), at=tmp_path), AuditingLab(), store
    )
    assert isinstance(record.outcome, Rejected)
    assert [check.verdict for check in record.outcome.checks] == ["failed", "failed", "not offered"]
    assert record.outcome.check == "causality"
    assert record.outcome.evidence == "causality | seen; failed too: sub-quadratic"
    assert store.records() == [record]


def test_an_audit_of_a_collection_goes_on_where_it_was(tmp_path: Path, store: Store) -> None:
    what = collection(*[entry(f"P{n}", f"x = {n}") for n in range(3)], at=tmp_path)
    first = next(
        iter(audit(what, SMOKE, AuditingLab(), store, checks=ALL, level="full", workers=1))
    )
    lab = AuditingLab()
    audited(what, lab, store)
    assert first.candidate.proposal.source not in [one.source for one in lab.audits]
    assert len(store.records()) == 3


def test_an_audit_has_the_size_and_the_limits_of_verify(tmp_path: Path, store: Store) -> None:
    lab = AuditingLab()
    audited(collection(entry(), at=tmp_path), lab, store)
    (one,) = lab.audits
    assert (one.width, one.heads, one.level) == (64, 4, "quick")
    assert (one.limit_seconds, one.limit_bytes) == (120.0, 4 << 30)


def test_the_table_has_a_row_for_each_program_and_a_column_for_each_check(
    table: CheckTable,
) -> None:
    lines = [line for line in table.markdown().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert cells[0] == ["#", "program", *ALL]
    assert cells[2:] == [
        ["0", "Honest", "yes", "yes", "-"],
        ["1", "Leaks", "**no**", "yes", "-"],
        ["2", "`Both\\|of`", "**no**", "**no**", "-"],
        ["3", "One", "refused: imports", "", ""],
        ["4", "Two", "refused: imports", "", ""],
        ["5", "Crash", "crashed: load", "", ""],
        ["6", "Again", "refused: novelty", "", ""],
        ["", "programs that failed", "2", "1", "0"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_below_the_table_each_reason_stands_once_with_its_programs(table: CheckTable) -> None:
    reasons = [line for line in table.markdown().splitlines() if line.startswith("* ")]
    assert reasons == [
        "* Leaks, `Both|of`: causality: `causality | seen`",
        "* `Both|of`: sub-quadratic: `sub-quadratic | seen`",
        "* One, Two: refused: imports: `line 1 imports os: a mixer computes with tensors`",
        "* Crash: crashed: load: `ZeroDivisionError: no`",
        "* Again: refused: novelty: `the same program as Honest of experiment 0`",
    ]


def test_in_a_narrow_terminal_the_checks_of_the_table_are_numbered(table: CheckTable) -> None:
    text = table.markdown(50)
    assert "|#|program|1|2|3|" in text
    assert "|1|Leaks|N|y|-|" in text
    assert "1 causality, 2 sub-quadratic, 3 decoding." in text
    assert max(len(line) for line in text.splitlines() if line.startswith("|")) <= 50


def test_in_a_terminal_no_word_below_the_table_is_broken(table: CheckTable) -> None:
    prose = table.markdown(50).partition("1 causality, ")[2].splitlines()
    assert max(map(len, prose)) <= 50
    whole = table.markdown(None)
    for word in " ".join(prose[2:]).split():
        assert word in whole or word in ("y:", "N:")


def test_the_table_as_data_holds_every_verdict(table: CheckTable) -> None:
    data = json.loads(json.dumps(table.data()))
    assert (data["checks"], data["level"], data["width"]) == (list(ALL), "quick", 64)
    assert data["failed"] == {"causality": 2, "sub-quadratic": 1, "decoding": 0}
    both, one = data["programs"][2:4]
    assert [check["verdict"] for check in both["checks"]] == ["failed", "failed", "not offered"]
    assert (both["refused"], both["passed"]) == (None, False)
    assert one["refused"].startswith("refused: imports: line 1 imports os")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("plain", "`plain`"),
        ("a`b", "``a`b``"),
        ("`a``", "``` `a`` ```"),
        ("<b>|</b>", "`<b>|</b>`"),
        ("two\nlines", "`two lines`"),
    ],
)
def test_what_a_program_says_is_code_in_markdown(text: str, code: str) -> None:
    assert importing._code(text) == code


def test_an_audit_and_a_verification_do_not_share_a_store(tmp_path: Path) -> None:
    what = collection(entry(), at=tmp_path)
    options: dict[str, Any] = {"checks": ALL, "level": "quick", "trained": False}
    one, other = (settings(what, SMOKE, **options, audited=every) for every in (True, False))
    with Store.open(tmp_path / "store.sqlite", create=True) as store:
        store.keep_settings(one)
        with pytest.raises(InputError, match="level 'quick, every check'"):
            store.keep_settings(other)


# ---------------------------------------------------------------- the command


@pytest.mark.slow
def test_import_of_every_check_prints_the_table_and_nothing_else(tmp_path: Path) -> None:
    file, path = tmp_path / "collection.json", tmp_path / "store.sqlite"
    cheat = program("Future", before="x_BTD = x_BTD + x_BTD.mean(dim=1, keepdim=True)")
    refused = [entry(f"R{n}", f"import numpy\nx = {n}\n") for n in range(3)]
    file.write_text(
        json.dumps([entry("Honest", HONEST.read_text()), entry("Cheat", cheat), *refused])
    )
    words = ("import", str(file), "--all", "--store", str(path))
    done = move37(*words, "--only", "causality,prefix,decoding")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# move37 import collection.json\n")
    rows = [re.findall(r"[^| ]+", line) for line in done.stdout.splitlines() if line[:1] == "|"]
    assert rows[2:4] == [
        ["0", "Honest", "yes", "yes", "-"],
        ["1", "Cheat", "**no**", "**no**", "-"],
    ]
    assert done.stdout.count("imports numpy") == 1  # one reason for three programs
    assert "einops" not in done.stdout + done.stderr  # the list of what may be imported
    as_json = json.loads(move37(*words, "--only", "causality,prefix,decoding", "--json").stdout)
    assert as_json["failed"] == {"causality": 1, "prefix": 1, "decoding": 0}
    assert as_json["summary"]["programs"] == 5


@pytest.mark.slow
def test_an_import_of_every_check_that_is_stopped_keeps_what_has_ended(tmp_path: Path) -> None:
    file, path = tmp_path / "collection.json", tmp_path / "store.sqlite"
    endless = program("Endless", before="while True: x_BTD = x_BTD + 0")
    file.write_text(json.dumps([entry("Endless", endless), entry("Refused", "import numpy")]))
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heard}; from move37.cli import main; main()"
    command = [sys.executable, "-c", code, "import", str(file), "--all", "--store", str(path)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as run:
        assert run.stderr is not None
        assert any("Refused" in line for line in run.stderr)  # this one has ended
        run.send_signal(signal.SIGINT)
        _, message = run.communicate(timeout=60)  # a bound against hanging, not a measurement
    assert run.returncode == 130
    assert f"stopped: 1 records are kept in {path}; the same command goes on" in message
    with Store.open(path) as store:
        assert [one.candidate.proposal.name for one in store.records()] == ["Refused"]


def test_every_check_and_training_exclude_each_other(tmp_path: Path) -> None:
    file = tmp_path / "collection.json"
    file.write_text(json.dumps([entry()]))
    done = move37("import", str(file), "--all", "--train")
    assert done.returncode == 2
    assert "--all verifies and trains nothing" in done.stderr


@pytest.mark.slow
def test_import_verifies_in_the_lab_and_goes_on(tmp_path: Path) -> None:
    file, path = tmp_path / "collection.json", tmp_path / "store.sqlite"
    cheat = program("Future", before="x_BTD = x_BTD + x_BTD.mean(dim=1, keepdim=True)")
    file.write_text(json.dumps([entry("Honest", HONEST.read_text()), entry("Cheat", cheat)]))
    only = ("--only", "interface", "--only", "causality")
    done = move37("import", str(file), "--store", str(path), *only)
    assert done.returncode == 0, done.stderr
    assert "passed interface, causality" in done.stdout
    assert "refused (causality)" in done.stdout
    assert "2 programs: 1 passed; 1 stopped by causality" in done.stdout
    again = move37("import", str(file), "--store", str(path), *only)
    assert "passed interface" not in again.stdout
    assert "2 programs: 1 passed" in again.stdout
    assert "Cheat was not measured" in move37("lessons", "--store", str(path)).stdout
    shown = move37("show", "Cheat", "--store", str(path))
    assert "causality" in shown.stdout
    tree = move37("tree", "--store", str(path)).stdout
    assert "Honest passed" in tree
    assert "Cheat refused" in tree
    refused = move37("import", str(file), "--name", "Cheat", "--store", f"{path}.other", *only)
    assert refused.returncode == 1
    assert "1 program: 0 passed" in refused.stdout
    as_json = move37("import", str(file), "--store", str(path), *only, "--json")
    *lines, last = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert last["summary"]["stopped"] == {"causality": 1}
    assert {line["type"] for line in lines} == {"Record"}
    assert (tmp_path / "report.html").exists()


def test_import_of_no_file_is_exit_status_2() -> None:
    done = move37("import", "nowhere.json")
    assert done.returncode == 2
    assert "cannot read nowhere.json: No such file or directory" in done.stderr
