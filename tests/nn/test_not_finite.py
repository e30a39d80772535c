"""What is not finite stays in its document, and spreads only to what sees it.

Shape letters: B batch, T time, H heads, K key size, V value size, D width.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops
from move37.nn.interop import adapt
from move37.nn.mixers import MIXERS

B, T, D = 2, 70, 8
BORDERS = (20, 45)  # where the second and the third document begin, within chunks

each_mixer = pytest.mark.parametrize("mixer", MIXERS, ids=lambda mixer: mixer.__name__)


def made(mixer: Callable[..., nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return mixer(D, heads=2).double()


def inputs(*, broken_at: int | None = None, by: float = torch.nan) -> Tensor:
    x_BTD = torch.randn(B, T, D, generator=torch.Generator().manual_seed(0)).double()
    if broken_at is not None:
        x_BTD[:, broken_at] = by
    return x_BTD


def documents() -> Tensor:
    return torch.bucketize(torch.arange(T), torch.tensor(BORDERS), right=True).expand(B, T)


@each_mixer
class TestEveryMixer:
    @pytest.mark.parametrize("by", [torch.nan, torch.inf])
    def test_other_documents_keep_their_outputs(
        self, mixer: Callable[..., nn.Module], by: float
    ) -> None:
        built = made(mixer)
        expected_BTD = built(inputs(), documents())
        found_BTD = built(inputs(broken_at=30, by=by), documents())
        others_T = documents()[0] != 1
        torch.testing.assert_close(found_BTD[:, others_T], expected_BTD[:, others_T])

    def test_outputs_before_it_are_kept_and_its_own_is_not_a_number(
        self, mixer: Callable[..., nn.Module]
    ) -> None:
        built = made(mixer)
        found_BTD = built(inputs(broken_at=30), documents())
        torch.testing.assert_close(found_BTD[:, :30], built(inputs(), documents())[:, :30])
        assert found_BTD[:, 30].isnan().all()

    def test_padding_keeps_the_tokens(self, mixer: Callable[..., nn.Module]) -> None:
        built, mask_BT = made(mixer), torch.ones(B, T, dtype=torch.bool)
        mask_BT[:, :11] = False
        x_BTD = inputs().masked_fill(~mask_BT[..., None], torch.nan)
        torch.testing.assert_close(built(x_BTD, mask_BT)[:, 11:], built(inputs()[:, 11:]))

    def test_gradients_of_other_documents_are_kept(self, mixer: Callable[..., nn.Module]) -> None:
        built, others_T = made(mixer), documents()[0] != 1
        gradients = []
        for x_BTD in (inputs(), inputs(broken_at=30)):
            x_BTD.requires_grad_()
            built(x_BTD, documents())[:, others_T].square().sum().backward()
            assert x_BTD.grad is not None
            gradients.append(x_BTD.grad[:, others_T])
        torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("length", [24, 300])
def test_a_log_decay_of_minus_infinity_is_no_fault(length: int) -> None:
    rng = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, length, 2, 4, generator=rng).double() for _ in range(3))
    log_decay = -torch.rand(1, length, 2, generator=rng).double()
    log_decay[:, 7] = -torch.inf  # all is forgotten: a document begins at 7
    numbers = torch.zeros(1, length, dtype=torch.long)
    found = ops.linear_attention(q, k, v, log_decay, numbers)
    expected = ops.linear_attention(q, k, v, log_decay.clamp(min=-100), numbers)
    torch.testing.assert_close(found, expected)


def test_a_window_forgets_what_is_not_a_number() -> None:
    rng = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 40, 2, 4, generator=rng).double() for _ in range(3))
    v[:, 10] = torch.nan
    numbers = torch.zeros(1, 40, dtype=torch.long)
    o_BTHV = ops.sliding_window_attention(q, k, v, torch.zeros(2, 5).double(), numbers)
    broken_T = o_BTHV.isnan().flatten(2).any(dim=-1)[0]
    assert broken_T.nonzero()[:, 0].tolist() == [10, 11, 12, 13, 14]


def test_a_query_that_is_not_a_number_spoils_its_own_output_only() -> None:
    rng = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 40, 2, 4, generator=rng).double() for _ in range(3))
    q[:, 10] = torch.nan
    numbers = torch.zeros(1, 40, dtype=torch.long)
    for operator in (ops.linear_attention, ops.softmax_attention):
        o_BTHV = operator(q, k, v, documents_BT=numbers)
        assert o_BTHV.isnan().flatten(2).any(dim=-1)[0].nonzero()[:, 0].tolist() == [10]


# ---------------------------------------------------------------- layers with fla's interface


class Masking(nn.Module):
    """Takes a padding mask and no documents."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.project = nn.Linear(hidden_size, hidden_size)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None
    ) -> tuple[Tensor, None, None]:
        x = self.project(hidden_states)
        kept = x if attention_mask is None else x * attention_mask[..., None]
        return kept.cumsum(dim=1), None, None


class MaskingAndPacking(Masking):
    """Takes both."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
    ) -> tuple[Tensor, None, None]:
        if cu_seqlens is None:
            return super().forward(hidden_states, attention_mask)
        sizes = cu_seqlens.diff().tolist()
        parts = self.project(hidden_states).split(sizes, dim=1)
        return F.pad(torch.cat([x.cumsum(dim=1) for x in parts], dim=1), (0, 0)), None, None


def test_documents_and_a_mask_at_once_are_an_error_that_says_what_to_do() -> None:
    mixer = adapt(MaskingAndPacking)(D, 2).double()
    with pytest.raises(ValueError, match="got both: give the padding a document number of its own"):
        mixer(inputs(), documents(), mask_BT=torch.ones(B, T, dtype=torch.bool))


def test_documents_are_no_mask() -> None:
    mixer = adapt(Masking)(D, 2).double()
    with pytest.raises(ValueError, match=r"boolean mask .* got torch.int64"):
        mixer(inputs(), documents())
