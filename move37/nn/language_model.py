"""The language model around a mixer: the same for every candidate, and of the same size.

Shape letters: B batch, T time, D model width, C vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

SIZE_TOLERANCE = 0.01
MixerFactory = Callable[[int, int], nn.Module]  # (width, heads) -> mixer


class TooLarge(ValueError):
    """The mixer leaves no room for the smallest MLP within the parameter budget."""


class SwiGLU(nn.Module):
    """The channel mixer: silu(x W1) * (x W2), then W3. Shazeer arXiv:2002.05202."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(dim, 2 * hidden, bias=False)
        self.project_out = nn.Linear(hidden, dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        gate, value = self.project_in(x_BTD).chunk(2, dim=-1)
        return self.project_out(F.silu(gate) * value)


class Block(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, dim: int, mixer: nn.Module, hidden: int) -> None:
        super().__init__()
        self.mixer_norm = nn.RMSNorm(dim, eps=1e-5)
        self.mixer = mixer
        self.mlp_norm = nn.RMSNorm(dim, eps=1e-5)
        self.mlp = SwiGLU(dim, hidden)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        normed_BTD = self.mixer_norm(x_BTD)
        # A mixer that does not offer `documents` still takes part where there is one document.
        mixed_BTD = (
            self.mixer(normed_BTD) if documents_BT is None else self.mixer(normed_BTD, documents_BT)
        )
        x_BTD = x_BTD + mixed_BTD
        return x_BTD + self.mlp(self.mlp_norm(x_BTD))


class LanguageModel(nn.Module):
    """Tokens in, logits out: embedding, blocks, norm, head tied to the embedding.

    The MLPs take what the mixers leave of `parameters` (embedding apart), so that every mixer
    is judged in a model of the same size. Raises TooLarge if that is less than the smallest MLP.
    """

    def __init__(
        self,
        mixer: MixerFactory,
        *,
        vocabulary: int,
        width: int,
        heads: int,
        layers: int,
        parameters: int,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        mixers = [mixer(width, heads) for _ in range(layers)]
        hidden = mlp_sizes(mixers, width=width, parameters=parameters)
        self.blocks = nn.ModuleList(
            Block(width, one, size) for one, size in zip(mixers, hidden, strict=True)
        )
        self.norm = nn.RMSNorm(width, eps=1e-5)

    @property
    def size(self) -> int:
        """The number of parameters, embedding apart."""
        return count_parameters(self) - count_parameters(self.embedding)

    def auxiliary_losses(self) -> list[Tensor]:
        """Returns what the mixers that offer `auxiliary_loss` add to the loss of the last forward.

        A balance of experts, for example; one number each, and in training only.
        """
        mixers: list[Any] = [block.mixer for block in self.blocks if isinstance(block, Block)]
        return [one.auxiliary_loss().squeeze() for one in mixers if hasattr(one, "auxiliary_loss")]

    def forward(self, tokens_BT: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        x_BTD = self.embedding(tokens_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD, documents_BT)
        return F.linear(self.norm(x_BTD), self.embedding.weight)


def mlp_sizes(mixers: list[nn.Module], *, width: int, parameters: int) -> list[int]:
    """Returns each block's MLP size, so that the whole model meets `parameters`.

    The sizes differ by one at most: one unit of one MLP is the finest step there is.
    """
    norms = width * (2 * len(mixers) + 1)
    unit = 3 * width  # parameters of one hidden unit
    mixing = sum(count_parameters(mixer) for mixer in mixers)
    units = round((parameters - norms - mixing) / unit)
    smallest = max(1, width // 4)
    if units < smallest * len(mixers):
        room = parameters - norms - smallest * unit * len(mixers)
        raise TooLarge(
            f"the mixers of {len(mixers)} layers have {mixing:,} parameters; a model of "
            f"{parameters:,} of width {width} has room for at most {room:,}"
        )
    share, extra = divmod(units, len(mixers))
    return [share + (layer < extra) for layer in range(len(mixers))]


def meets(size: int, parameters: int) -> bool:
    """Says whether a model has the size that was agreed, within 1 %."""
    return abs(size - parameters) <= SIZE_TOLERANCE * parameters


def count_parameters(module: nn.Module) -> int:
    """Returns the number of trainable and other parameters, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())
