"""An audit: one program through all checks, however its processes end."""

from collections.abc import Iterator

import pytest

from move37.auditing import NAMES
from move37.lab.client import Lab, _as_far_as_it_came
from move37.lab.words import End
from move37.records import Audit, Audited, CheckResult, Crashed, Verdict
from tests.test_cli import ENDS, program


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def audit(source: str, *checks: str, seconds: float = 60, width: int = 64) -> Audit:
    return Audit(source, None, checks or NAMES, "quick", width, 4, seconds, 1 << 30)


def audited(lab: Lab, what: Audit) -> Audited:
    outcome = lab.audit(what)
    assert isinstance(outcome, Audited), outcome
    return outcome


def verdicts(outcome: Audited) -> dict[str, Verdict]:
    return {check.check: check.verdict for check in outcome.checks}


def told(outcome: Audited, check: str) -> str:
    return next(one.evidence for one in outcome.checks if one.check == check)


# ---------------------------------------------------------------- time

ENDLESS_AT_35 = program("Endless", before="while x_BTD.shape[1] == 35: pass")


@pytest.fixture(scope="module")
def endless(lab: Lab) -> Audited:
    return audited(lab, audit(ENDLESS_AT_35, seconds=2))


def test_what_was_verified_before_the_time_ran_out_stays(endless: Audited) -> None:
    assert list(verdicts(endless).values())[:4] == ["passed"] * 4


def test_the_check_in_which_the_time_ran_out_says_so_and_where_the_program_stood(
    endless: Audited,
) -> None:
    expected = "ran out of time after 2 s at line 10: while x_BTD.shape[1] == 35: pass"
    assert verdicts(endless)["precision"] == "failed"
    assert told(endless, "precision") == expected


def test_the_checks_after_the_time_ran_out_were_not_run(endless: Audited) -> None:
    assert list(verdicts(endless)) == list(NAMES)
    assert verdicts(endless)["causality"] == "not run"
    assert told(endless, "causality") == "the time ran out in precision"


def test_a_mixer_whose_time_ran_out_is_called_by_its_name(endless: Audited) -> None:
    assert endless.mixer == "Endless"


def test_an_endless_import_is_a_failure_as_an_endless_forward_is(lab: Lab) -> None:
    outcome = audited(lab, audit("x = 1\nwhile True: pass", seconds=1))
    assert verdicts(outcome) == {"load": "failed"} | dict.fromkeys(NAMES, "not run")
    assert told(outcome, "load") == "ran out of time after 1 s at line 2: while True: pass"


def test_a_program_that_hears_no_alarm_runs_out_of_time_too(lab: Lab) -> None:
    deaf = "import torch\ntorch.linalg.matrix_exp(torch.randn(4000, 4000))"
    outcome = audited(lab, audit(deaf, seconds=1))
    assert told(outcome, "load") == "still running after 1 s"


def test_verdicts_are_told_as_they_come(lab: Lab) -> None:
    heard: list[tuple[str, int]] = []
    what = audit(program("Mine"), "interface", "prefix")
    lab.audit(what, tell=lambda so_far: heard.append((so_far.mixer, len(so_far.checks))))
    assert heard == [("Mine", 0), ("Mine", 1), ("Mine", 2)]


# ---------------------------------------------------------------- what a program raises


@pytest.mark.parametrize("raised", ["SystemExit(3)", "KeyboardInterrupt"])
def test_what_ends_other_programs_is_a_failure_with_its_line(lab: Lab, raised: str) -> None:
    source = program("Exits", before=f"if x_BTD.shape[1] == 67: raise {raised}")
    outcome = audited(lab, audit(source, "interface", "causality", "prefix"))
    assert list(verdicts(outcome).values()) == ["passed", "failed", "passed"]
    kind = raised.split("(")[0]
    assert told(outcome, "causality").startswith(f"raises {kind}")
    assert f"at line 10: if x_BTD.shape[1] == 67: raise {raised}" in told(outcome, "causality")


def test_a_process_that_the_program_ends_leaves_the_other_checks_not_run(lab: Lab) -> None:
    source = ENDS + program("Ends", before="x_BTD.shape[1] == 67 and end()")
    outcome = audited(lab, audit(source, "interface", "causality", "prefix"))
    assert list(verdicts(outcome).values()) == ["passed", "failed", "not run"]
    assert told(outcome, "prefix") == "the process ended in causality"


BROKEN = {
    "a name that is not there": ("x_BTD = y_BTD", "NameError at line 10"),
    "an attribute that is not there": ("x_BTD = self.proj(x_BTD)", "AttributeError at line 10"),
    "shapes that do not fit": ("x_BTD = x_BTD @ x_BTD", "RuntimeError at line 10"),
    "another shape": ("x_BTD = x_BTD[:, 1:]", "forward does not keep (B, T, D)"),
    "a tuple": ("return x_BTD, None", "forward does not keep (B, T, D)"),
}


@pytest.mark.parametrize("crime", BROKEN)
def test_a_forward_that_gives_no_output_is_told_once(lab: Lab, crime: str) -> None:
    before, reason = BROKEN[crime]
    outcome = audited(lab, audit(program("Broken", before=before)))
    assert verdicts(outcome) == {"interface": "failed"} | dict.fromkeys(NAMES[1:], "not run")
    assert reason in told(outcome, "causality")
    assert "(see interface)" in told(outcome, "causality")


def test_the_limit_of_memory_is_named_where_it_is_hit(lab: Lab) -> None:
    source = program("Large", before="torch.zeros(10**12)")
    assert told(audited(lab, audit(source)), "interface").endswith("(the limit of memory is 1 GiB)")


def test_what_a_program_prints_is_counted(lab: Lab) -> None:
    source = program("Talks", before="print('one\\ntwo')") + "\nprint('at import')\n"
    outcome = audited(lab, audit(source, "memory"))
    # At import, and with each forward: the first, and those at three lengths that are counted.
    assert outcome.printed_lines == 1 + 4 * 2


# ---------------------------------------------------------------- what it comes to


@pytest.mark.parametrize(
    ("found", "passed"),
    [
        (["passed", "not offered"], True),
        (["passed", "failed"], False),
        (["passed", "not run"], False),
        (["not offered"], False),
    ],
)
def test_an_audit_is_passed_if_a_check_is_and_no_other_failed(
    found: list[Verdict], passed: bool
) -> None:
    checks = tuple(CheckResult("x", verdict, "") for verdict in found)
    assert Audited("Mine", checks).passed is passed


def test_of_what_a_process_printed_whole_lines_are_told() -> None:
    printed = "\n".join(f"line {n}" for n in range(1000))
    _, first, *_ = End("exit", "exit status 3", printed).reason.splitlines()
    assert first.startswith("line 9")


def test_an_end_between_two_checks_is_told_of_the_next() -> None:
    what = audit("", "interface", "builds")
    so_far = Audited("Mixer", (CheckResult("interface", "passed", ""),))
    crashed = Crashed("verify: interface", "time limit: ran out of time after 2 s")
    outcome = _as_far_as_it_came(crashed, what, so_far, 1.0)
    assert isinstance(outcome, Audited)
    assert verdicts(outcome) == {"interface": "passed", "builds": "failed"}


def test_an_end_after_the_last_check_changes_no_verdict() -> None:
    what = audit("", "interface")
    so_far = Audited("Mixer", (CheckResult("interface", "passed", ""),))
    crashed = Crashed("verify: interface", "the process was killed: SIGKILL")
    assert _as_far_as_it_came(crashed, what, so_far, 1.0) == so_far
