"""What the trainer does with a mixer."""

import torch
from torch import Tensor, nn

from move37.nn.language_model import LanguageModel
from move37.presets import SMOKE
from move37.records import CurvePoint, Measurement
from move37.train.trainer import train


class _WithALossOfItsOwn(nn.Module):
    """Keeps a number that no output depends on, and asks for it to be one."""

    def __init__(self, dim: int, *, heads: int) -> None:  # noqa: ARG002
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.gauge = nn.Parameter(torch.zeros(1))

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.project(x_BTD)
        return y_BTD

    def auxiliary_loss(self) -> Tensor:
        return (self.gauge - 1).square()


def _trained(kind: type[_WithALossOfItsOwn]) -> tuple[Measurement, LanguageModel]:
    return train(
        lambda width, heads: kind(width, heads=heads),
        SMOKE.budgets[0],
        seed=0,
        stops=(),
        device="cpu",
    )


def _curve(kind: type[_WithALossOfItsOwn]) -> tuple[CurvePoint, ...]:
    return _trained(kind)[0].curve


def test_an_auxiliary_loss_is_trained() -> None:
    _, model = _trained(_WithALossOfItsOwn)
    mixers = [module for module in model.modules() if isinstance(module, _WithALossOfItsOwn)]
    assert all(mixer.gauge.item() > 0 for mixer in mixers)


class _WithALargeLoss(_WithALossOfItsOwn):
    def auxiliary_loss(self) -> Tensor:
        return super().auxiliary_loss() + 100


def test_an_auxiliary_loss_is_not_measured() -> None:
    plain, large = (_curve(kind) for kind in (_WithALossOfItsOwn, _WithALargeLoss))
    assert plain == large
