"""Every check has its cheats, and lets the honest ones pass."""

import ast
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from move37.lab.loading import load_program
from move37.records import Level
from move37.verify import CHECKS, Subject

TESTS = Path(__file__).parents[1]
CHEATS = sorted(file for file in (TESTS / "cheats").glob("[a-z]*.py"))
HONEST = sorted(file for file in (TESTS / "honest").glob("[a-z]*.py"))
MIXERS = sorted((TESTS.parent / "move37" / "nn" / "mixers").glob("[a-z]*.py"))


class Crime(NamedTuple):
    """What the first words of a cheat's docstring say: by which check it has to be caught."""

    check: str
    level: Level


def crime(file: Path) -> Crime:
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    told = docstring.removeprefix("Caught ").removeprefix("by ").split(":")[0]
    check = told.removesuffix(" at the full level")
    return Crime(check, "quick" if told == check else "full")


AT_ONCE = [file for file in CHEATS if crime(file).check != "after training"]  # those: tests/lab


def subject_of(file: Path, level: Level = "quick") -> Subject:
    program = load_program(file.read_text())
    return Subject(program.make, 32, 2, level, program.variants)


def refuses(check: str, subject: Subject) -> bool:
    """Says whether a check fails; an exception counts, as it does in the lab."""
    try:
        return CHECKS[check](subject).verdict == "failed"
    except Exception:  # noqa: BLE001  whatever a cheat raises
        return True


@pytest.mark.parametrize("file", AT_ONCE, ids=lambda file: file.stem)
def test_a_cheat_is_caught_by_the_check_that_it_names(file: Path) -> None:
    subject = subject_of(file, crime(file).level)
    first = next((check for check in CHECKS if refuses(check, subject)), None)
    assert first == crime(file).check


@pytest.mark.parametrize("check", CHECKS)
def test_without_a_check_some_cheat_would_pass(check: str) -> None:
    """Mutation test: no check can be left out."""
    for file in AT_ONCE:
        if crime(file) == (check, "quick"):
            subject = subject_of(file)
            if not any(refuses(other, subject) for other in CHECKS if other != check):
                return
    pytest.fail(f"no cheat needs {check}")


@pytest.mark.parametrize("file", HONEST, ids=lambda file: file.stem)
def test_an_odd_but_honest_mixer_passes(file: Path) -> None:
    subject = subject_of(file)
    results = [check(subject) for check in CHECKS.values()]
    assert [result for result in results if result.verdict == "failed"] == []


# The full level of all mixers, and of the honest ones, is in bench/verify.py: it takes minutes.
IN_FULL = [file for file in MIXERS if file.stem in ("gated_delta_net", "softmax_attention")]


@pytest.mark.parametrize(
    ("file", "level"),
    [(file, "quick") for file in MIXERS]
    + [pytest.param(file, "full", marks=pytest.mark.slow) for file in IN_FULL],
    ids=lambda given: given.stem if isinstance(given, Path) else given,
)
def test_the_library_passes_every_check_but_softmax_attention_is_quadratic(
    file: Path, level: Level
) -> None:
    subject = subject_of(file, level)
    verdicts = {name: check(subject).verdict for name, check in CHECKS.items()}
    expected = dict.fromkeys(CHECKS, "passed") | {"chunking": "not offered"}
    if file.stem == "softmax_attention":
        expected["sub-quadratic"] = "failed"
    assert verdicts == expected


class _Honest(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:  # noqa: ARG002
        super().__init__()
        self.rate = nn.Parameter(torch.linspace(-3, 0, dim))
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.project(x_BTD) + self.rate * x_BTD
        return y_BTD


def test_what_is_not_offered_is_neither_passed_nor_failed() -> None:
    subject = Subject(lambda width, heads: _Honest(width, heads=heads), width=32, heads=2)
    assert CHECKS["decoding"](subject).verdict == "not offered"
    assert CHECKS["documents"](subject).verdict == "not offered"


class _UnknownCost(_Honest):
    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.project(x_BTD) + self.rate
        nothing_BTD: Tensor = 0 * torch.linalg.pinv(y_BTD.detach()).transpose(1, 2)
        return y_BTD + nothing_BTD


def test_an_operator_of_unknown_cost_is_refused_by_name() -> None:
    subject = Subject(lambda width, heads: _UnknownCost(width, heads=heads), width=32, heads=2)
    result = CHECKS["sub-quadratic"](subject)
    assert result.verdict == "failed"
    assert "is not known" in result.evidence
