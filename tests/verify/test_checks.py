"""Every check has its cheats, and lets the honest ones pass."""

import ast
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from move37.lab.loading import load_mixer
from move37.nn.language_model import MixerFactory
from move37.records import CheckResult
from move37.verify import CHECKS, Subject

CHEATS = Path(__file__).parent.parent / "cheats"
MIXERS = Path(__file__).parents[2] / "move37" / "nn" / "mixers"


def _first_failure(make: MixerFactory) -> CheckResult | None:
    subject = Subject(make, width=32, heads=2)
    for check in CHECKS.values():
        result = check(subject)
        if result.verdict == "failed":
            return result
    return None


def _caught_by(file: Path) -> str:
    """The first words of a cheat's docstring say which check has to catch it."""
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    return docstring.removeprefix("Caught ").removeprefix("by ").split(":")[0]


FILES = sorted(file for file in CHEATS.glob("*.py") if file.name != "__init__.py")
AT_ONCE = [file for file in FILES if _caught_by(file) != "after training"]  # those: tests/lab


@pytest.mark.parametrize("file", AT_ONCE, ids=lambda file: file.stem)
def test_a_cheat_is_caught_by_the_check_that_it_names(file: Path) -> None:
    failure = _first_failure(load_mixer(file.read_text()))
    assert failure is not None
    assert failure.check == _caught_by(file)


@pytest.mark.parametrize("check", CHECKS)
def test_without_a_check_some_cheat_would_pass(check: str) -> None:
    """Mutation test: no check can be left out."""
    for file in AT_ONCE:
        if _caught_by(file) != check:
            continue
        subject = Subject(load_mixer(file.read_text()), width=32, heads=2)
        others = [other(subject) for name, other in CHECKS.items() if name != check]
        if all(result.verdict != "failed" for result in others):
            return
    pytest.fail(f"no cheat needs {check}")


@pytest.mark.parametrize("file", sorted(MIXERS.glob("[a-z]*.py")), ids=lambda file: file.stem)
def test_the_library_passes_every_check_but_softmax_attention_is_quadratic(file: Path) -> None:
    subject = Subject(load_mixer(file.read_text()), width=32, heads=2)
    verdicts = {name: check(subject).verdict for name, check in CHECKS.items()}
    expected = dict.fromkeys(CHECKS, "passed")
    if file.stem == "softmax_attention":
        expected["sub-quadratic"] = "failed"
    assert verdicts == expected


@pytest.mark.parametrize("file", sorted(MIXERS.glob("[a-z]*.py")), ids=lambda file: file.stem)
def test_the_full_level_agrees_with_the_quick_one_on_the_library(file: Path) -> None:
    subject = Subject(load_mixer(file.read_text()), width=32, heads=2, level="full")
    failed = [name for name, check in CHECKS.items() if check(subject).verdict == "failed"]
    assert failed == (["sub-quadratic"] if file.stem == "softmax_attention" else [])


class _Honest(nn.Module):
    """Long convolution by FFT, padded: T log T, and causal to rounding."""

    def __init__(self, dim: int, *, heads: int) -> None:  # noqa: ARG002
        super().__init__()
        self.rate = nn.Parameter(torch.linspace(-3, 0, dim))
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        T = x_BTD.shape[1]
        places_T1 = torch.arange(T).to(x_BTD)[:, None]
        kernel_TD = (-self.rate.exp() * places_T1).exp()
        product = torch.fft.rfft(x_BTD, n=2 * T, dim=1) * torch.fft.rfft(kernel_TD, n=2 * T, dim=0)
        y_BTD: Tensor = self.project(torch.fft.irfft(product, n=2 * T, dim=1)[:, :T])
        return y_BTD


class _Routed(_Honest):
    """Each token takes one of two paths, by its own sign: a branch that is no leak."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        chosen_BT1 = (x_BTD[..., :1] > 0).to(x_BTD)
        y_BTD: Tensor = self.project(x_BTD) * chosen_BT1 + self.rate * x_BTD * (1 - chosen_BT1)
        return y_BTD


class _WithDropout(_Honest):
    """Random in train mode only: no fault."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.project(x_BTD) + self.rate * x_BTD
        dropped: Tensor = nn.functional.dropout(y_BTD, 0.1, self.training)
        return dropped


@pytest.mark.parametrize("mixer", [_Honest, _Routed, _WithDropout], ids=lambda m: m.__name__)
def test_an_odd_but_honest_mixer_passes(mixer: type[_Honest]) -> None:
    assert _first_failure(lambda width, heads: mixer(width, heads=heads)) is None


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
