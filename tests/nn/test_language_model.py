"""The model around a mixer has the size it was told, whatever the mixer."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from move37.nn.language_model import LanguageModel, TooLarge, count_parameters, mlp_sizes
from move37.nn.mixers.delta_net import DeltaNet
from move37.nn.mixers.gated_delta_net import GatedDeltaNet
from move37.nn.mixers.gated_linear_attention import GatedLinearAttention
from move37.nn.mixers.linear_attention import LinearAttention
from move37.nn.mixers.softmax_attention import SoftmaxAttention

MIXERS: tuple[Callable[..., nn.Module], ...] = (
    DeltaNet,
    GatedDeltaNet,
    GatedLinearAttention,
    LinearAttention,
    SoftmaxAttention,
)
VOCABULARY, WIDTH, HEADS, LAYERS = 19, 48, 3, 2
PARAMETERS = 70_000  # leaves every mixer an MLP larger than the smallest

each_mixer = pytest.mark.parametrize("mixer", MIXERS)


def model(
    mixer: Callable[..., nn.Module] = DeltaNet,
    *,
    parameters: int = PARAMETERS,
    layers: int = LAYERS,
    seed: int = 0,
) -> LanguageModel:
    torch.manual_seed(seed)
    return LanguageModel(
        lambda width, heads: mixer(width, heads=heads),
        vocabulary=VOCABULARY,
        width=WIDTH,
        heads=HEADS,
        layers=layers,
        parameters=parameters,
    )


def tokens(length: int = 63, *, below: int = VOCABULARY) -> Tensor:
    return torch.randint(below, (2, length), generator=torch.Generator().manual_seed(0))


@each_mixer
@pytest.mark.parametrize("parameters", [60_000, PARAMETERS, 123_457])
@pytest.mark.parametrize("layers", [1, 2])
def test_parameters_apart_from_the_embedding_meet_the_budget_within_one_percent(
    mixer: Callable[..., nn.Module], parameters: int, layers: int
) -> None:
    built = model(mixer, parameters=parameters, layers=layers)
    counted = count_parameters(built) - count_parameters(built.embedding)
    assert abs(counted - parameters) <= 0.01 * parameters


def test_mlps_of_a_model_differ_by_one_unit_at_most() -> None:
    mixers: list[nn.Module] = [nn.Linear(WIDTH, WIDTH) for _ in range(3)]
    for parameters in range(40_000, 41_000, 100):
        sizes = mlp_sizes(mixers, width=WIDTH, parameters=parameters)
        assert max(sizes) - min(sizes) <= 1


def test_a_larger_mixer_gets_smaller_mlps() -> None:
    lean, rich = (nn.Linear(WIDTH, outputs, bias=False) for outputs in (WIDTH, 2 * WIDTH))
    for_lean, for_rich = (
        mlp_sizes([one], width=WIDTH, parameters=PARAMETERS) for one in (lean, rich)
    )
    assert for_lean[0] - for_rich[0] == WIDTH // 3  # a unit has three weights per channel


@each_mixer
def test_a_mixer_that_leaves_no_room_for_an_mlp_is_too_large(
    mixer: Callable[..., nn.Module],
) -> None:
    mixing = LAYERS * count_parameters(mixer(WIDTH, heads=HEADS))
    with pytest.raises(TooLarge, match="room for at most"):
        model(mixer, parameters=mixing + 500)


def test_too_large_tells_what_came_and_how_much_there_is_room_for() -> None:
    with pytest.raises(TooLarge) as told:
        mlp_sizes([nn.Linear(100, 100, bias=False)], width=100, parameters=12_000)
    # Room: 12,000 less three norms of 100 and an MLP of 25 units of 300.
    assert "10,000 parameters" in str(told.value)
    assert "at most 4,200" in str(told.value)


def test_head_is_tied_to_the_embedding() -> None:
    """A token that is never read still gets a gradient, through the head."""
    built = model()
    built(tokens(below=VOCABULARY - 1)).square().sum().backward()
    assert built.embedding.weight.grad is not None
    assert built.embedding.weight.grad[VOCABULARY - 1].any()


def test_head_adds_no_parameters() -> None:
    built = model()
    names = {name.split(".")[0] for name, _ in built.named_parameters()}
    assert names == {"embedding", "blocks", "norm"}


@each_mixer
def test_same_seed_same_weights(mixer: Callable[..., nn.Module]) -> None:
    first, second = (model(mixer, seed=3).state_dict() for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_another_seed_other_weights() -> None:
    first, second = (model(seed=seed).embedding.weight for seed in (3, 4))
    assert not torch.equal(first, second)


@each_mixer
@pytest.mark.parametrize("length", [1, 63])
def test_logits_have_one_row_per_token_and_one_column_per_word(
    mixer: Callable[..., nn.Module], length: int
) -> None:
    assert model(mixer)(tokens(length)).shape == (2, length, VOCABULARY)


@each_mixer
@torch.no_grad()
def test_documents_packed_equal_documents_apart(mixer: Callable[..., nn.Module]) -> None:
    built, tokens_BT = model(mixer).double(), tokens()
    documents_BT = (torch.arange(63) >= 29).long().expand(2, 63)
    packed_BTC = built(tokens_BT, documents_BT)
    apart_BTC = torch.cat([built(tokens_BT[:, :29]), built(tokens_BT[:, 29:])], dim=1)
    torch.testing.assert_close(packed_BTC, apart_BTC, rtol=1e-9, atol=1e-9)


def test_a_mixer_without_documents_still_takes_part() -> None:
    class Plain(nn.Module):
        def __init__(self, dim: int, *, heads: int) -> None:  # noqa: ARG002
            super().__init__()
            self.scale = nn.Parameter(torch.ones(dim))

        def forward(self, x_BTD: Tensor) -> Tensor:
            return x_BTD * self.scale

    assert model(Plain)(tokens()).isfinite().all()


def test_an_untrained_model_is_about_as_surprised_as_one_that_guesses() -> None:
    logits_BTC = model()(tokens())
    loss = nn.functional.cross_entropy(logits_BTC.flatten(0, 1), tokens().flatten())
    assert loss.item() == pytest.approx(torch.log(torch.tensor(VOCABULARY)).item(), rel=0.05)
