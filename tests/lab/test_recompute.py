"""A program that forges its own verdicts is found out by processes that never load it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from move37.lab.client import Lab
from move37.lab.recompute import Inputs, Play, faults
from move37.lab.words import RECOMPUTED
from move37.loop import assignment
from move37.nn.counting import Work
from move37.presets import SMOKE
from move37.records import Audit, Audited, CheckResult, Measured, Rejected
from tests.lab.ungated import Ungated

ROOT = Path(__file__).parents[2]
MIXER = """
import torch
from torch import Tensor, nn

class Mixer(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = self.project(x_BTD)
        return {output}
"""
HONEST = "y_BTD"
FAULTS = {
    "independence": "y_BTD + y_BTD.cumsum(0)",
    "causality": "y_BTD + y_BTD.mean(1, keepdim=True)",
    "prefix": "y_BTD / x_BTD.shape[1]",
    "sub-quadratic": "y_BTD + 0 * (y_BTD @ x_BTD.mT).tril() @ x_BTD",
    "memory": "y_BTD + 0 * len(torch.empty(x_BTD.shape[1], x_BTD.shape[1]))",
}
# What the attack of the audit did, from the program: each check of the verifier says yes.
FORGED = """
import torch
checks = getattr(torch, "s" + "ys").modules["move37.verify"].CHECKS
result = getattr(torch, "s" + "ys").modules["move37.records"].CheckResult
for name in list(checks):
    checks[name] = lambda subject, name=name: result(name, "passed", "forged")
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Ungated() as lab:
        yield lab


def audited(lab: Lab, source: str, *checks: str) -> dict[str, CheckResult]:
    what = Audit(source, None, checks or RECOMPUTED, "quick", 32, 2, 60.0, 1 << 30)
    outcome = lab.audit(what)
    assert isinstance(outcome, Audited), outcome
    return {check.check: check for check in outcome.checks}


@pytest.mark.parametrize("check", FAULTS)
def test_a_forged_verdict_does_not_stand(lab: Lab, check: str) -> None:
    found = audited(lab, MIXER.format(output=FAULTS[check]) + FORGED)[check]
    assert found.verdict == "failed"
    assert found.recomputed
    assert found.evidence.startswith("recomputed outside of the program's process: ")


@pytest.mark.parametrize("check", FAULTS)
def test_a_program_with_forged_verdicts_is_not_trained(lab: Lab, check: str) -> None:
    source = MIXER.format(output=FAULTS[check]) + FORGED
    outcome = lab.examine(assignment(SMOKE, source, seeds=(0,)))
    assert isinstance(outcome, Rejected)
    assert outcome.check == check


def test_an_honest_mixer_passes_outside_too(lab: Lab) -> None:
    found = audited(lab, MIXER.format(output=HONEST))
    assert {check.verdict for check in found.values()} == {"passed"}
    assert all(check.recomputed for check in found.values())


def test_only_what_is_computed_outside_is_marked_so(lab: Lab) -> None:
    found = audited(lab, MIXER.format(output=HONEST), "interface", "causality", "gradients")
    assert [name for name, check in found.items() if check.recomputed] == ["causality"]


def test_a_failure_in_the_programs_own_process_keeps_its_evidence(lab: Lab) -> None:
    found = audited(lab, MIXER.format(output=FAULTS["causality"]))["causality"]
    assert found.verdict == "failed"
    assert "hears input" in found.evidence


def test_what_cannot_be_recomputed_does_not_pass(lab: Lab) -> None:
    branches = "y_BTD if x_BTD.sum() > 0 else y_BTD + 0.5"
    found = audited(lab, MIXER.format(output=branches) + FORGED)["causality"]
    assert found.verdict == "not run"
    assert "depend on the length only" in found.evidence


def test_a_mixer_that_its_calls_change_is_not_said_to_depend_on_its_input(lab: Lab) -> None:
    source = (ROOT / "tests" / "cheats" / "counts_its_calls.py").read_text()
    found = audited(lab, source, "repeatable", "sub-quadratic")["sub-quadratic"]
    assert found.verdict == "not run"
    assert found.evidence.endswith("and not outside of it: see repeatable")


def test_a_mixer_of_the_library_is_measured_with_verdicts_from_outside() -> None:
    with Lab() as lab:
        recall = next(budget for budget in SMOKE.budgets if budget.task == "recall")
        made = assignment(SMOKE, SMOKE.reference.proposal().source, seeds=(0,))
        outcome = lab.examine(replace(made, budgets=(recall,)))
    assert isinstance(outcome, Measured), outcome
    assert {check.check for check in outcome.checks if check.recomputed} == set(RECOMPUTED)


# ---------------------------------------------------------------- of what was scored

# Honest as long as the verifier looks: in double precision, and before it was trained.
LATER = """
        if x_BTD.dtype == torch.float32 and float(self.trained.abs().max()) > 0:
            return {output}
        return y_BTD + self.trained
"""


@pytest.mark.parametrize(
    ("check", "output"),
    [
        ("independence", "y_BTD + self.trained + y_BTD.roll(1, 0)"),
        ("causality", "y_BTD + self.trained + y_BTD.mean(1, keepdim=True)"),
    ],
)
def test_what_is_scored_is_examined_as_well(lab: Lab, check: str, output: str) -> None:
    source = MIXER.format(output=HONEST).replace(
        "nn.Linear(dim, dim)\n",
        "nn.Linear(dim, dim)\n        self.trained = nn.Parameter(torch.zeros(dim))\n",
    )
    source = source.replace("        return y_BTD\n", LATER.format(output=output))
    recall = next(budget for budget in SMOKE.budgets if budget.task == "recall")
    made = assignment(SMOKE, source + FORGED, seeds=(0,))
    outcome = lab.examine(replace(made, budgets=(recall,)))
    assert isinstance(outcome, Rejected)
    assert outcome.check in (check, "precision", "causality")
    assert outcome.evidence.startswith("trained on recall")


# ---------------------------------------------------------------- one fault each, without a lab


def playing(function: "nn.Module | type[nn.Module]") -> Play:
    mixer = function if isinstance(function, nn.Module) else function()

    def play(x_BTD: Tensor) -> tuple[Tensor, Work]:
        with torch.no_grad(), Work() as work:
            y_BTD = mixer(x_BTD)
        return y_BTD, work

    return play


class Lambda(nn.Module):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def forward(self, x_BTD: Tensor) -> Tensor:
        result: Tensor = eval(self.text, {"torch": torch}, {"x_BTD": x_BTD, "y_BTD": 2 * x_BTD})
        return result


def given() -> Inputs:
    rng = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, 8, generator=rng, dtype=torch.float64)

    long = drawn(1, 500), drawn(1, 500)
    return Inputs(drawn(4, 40), drawn(4, 40), *long, (1, 7, 64), (130, 500), rng)


@pytest.mark.parametrize("check", FAULTS)
def test_each_fault_is_named_by_its_check(check: str) -> None:
    assert next(faults(playing(Lambda(FAULTS[check])), given(), 1e-9)).check == check


def test_an_honest_function_has_no_fault() -> None:
    assert list(faults(playing(Lambda("y_BTD.cumsum(1)")), given(), 1e-9)) == []


def test_what_is_not_a_number_is_a_fault() -> None:
    broken = Lambda("torch.where(x_BTD.sum() > 0, y_BTD, y_BTD / 0 * 0)")
    assert "causality" in {fault.check for fault in faults(playing(broken), given(), 1e-9)}


def test_a_cheat_that_only_long_sequences_show_is_found() -> None:
    late = Lambda("y_BTD + (y_BTD.mean(1, keepdim=True) if x_BTD.shape[1] > 300 else 0)")
    assert "causality" in {fault.check for fault in faults(playing(late), given(), 1e-9)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "file", sorted((ROOT / "tests" / "honest").glob("[a-z]*.py")), ids=lambda file: file.stem
)
def test_an_odd_but_honest_mixer_passes_outside_too(lab: Lab, file: Path) -> None:
    assert {check.verdict for check in audited(lab, file.read_text()).values()} == {"passed"}
