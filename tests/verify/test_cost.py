"""What grows is refused: work, states, steps; gradients of slices above a share."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from move37.lab.loading import load_program
from move37.nn.counting import Work
from move37.records import CheckResult
from move37.verify import CHECKS, Subject
from move37.verify.complexity import SLICE_LENGTH, SLICE_SHARE, _drawn, first_grown

TESTS = Path(__file__).parents[1]
CHUNK = 64


def subject_of(file: str) -> Subject:
    return Subject(load_program((TESTS / f"{file}.py").read_text()).make, 32, 2)


@functools.cache
def verdict(check: str, file: str) -> CheckResult:
    """Returns what a check says of a file in tests/; once, since a loop over tokens is slow."""
    return CHECKS[check](subject_of(file))


def subject(forward: Callable[[Tensor], Tensor]) -> Subject:
    """Returns one that projects its input, and then does this with it."""

    class Mixer(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return forward(super().forward(x))

    return Subject(lambda width, _: Mixer(width, width), 32, 2)


# ---------------------------------------------------------------- gradients of slices


@pytest.mark.parametrize("check", ["sub-quadratic", "memory"])
def test_a_loop_over_chunks_that_reads_slices_passes_with_their_share(check: str) -> None:
    result = CHECKS[check](subject_of("honest/reads_chunks_by_slices"))
    assert result.verdict == "passed"
    assert f"% of the work at T={SLICE_LENGTH}, {SLICE_SHARE:.0%} allowed" in result.evidence
    assert "unbind" in result.evidence


@pytest.mark.parametrize("check", ["sub-quadratic", "memory"])
def test_a_loop_over_tokens_that_reads_slices_is_refused_with_their_share(check: str) -> None:
    result = verdict(check, "cheats/loops_over_slices_of_tokens")
    assert result.verdict == "failed"
    assert f"% of the work at T={SLICE_LENGTH}, {SLICE_SHARE:.0%} allowed" in result.evidence


def test_a_loop_over_tokens_is_named_where_the_check_fails_too() -> None:
    evidence = verdict("sub-quadratic", "cheats/loops_over_slices_of_tokens").evidence
    assert "; a loop over tokens: " in evidence


def test_what_reads_no_slices_says_nothing_of_them() -> None:
    for check in ("sub-quadratic", "memory"):
        assert "slices" not in CHECKS[check](subject(torch.tanh)).evidence


def test_the_operator_of_a_gradient_of_a_slice_is_refused_in_a_forward() -> None:
    def written(y_BTD: Tensor) -> Tensor:
        written_BTD = torch.zeros_like(y_BTD)
        for start in range(0, y_BTD.shape[1] - CHUNK, CHUNK):
            written_BTD = written_BTD + torch.ops.aten.slice_backward(
                y_BTD[:, start : start + CHUNK].detach(), y_BTD.shape, 1, start, start + CHUNK, 1
            )
        return y_BTD + written_BTD

    result = CHECKS["sub-quadratic"](subject(written))
    assert result.verdict == "failed"
    assert "gradient of a slice" not in result.evidence


def test_a_function_that_is_called_like_the_gradient_of_a_slice_has_no_reserve() -> None:
    class SelectBackward0(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x_BTD: Tensor) -> Tensor:  # noqa: ARG004
            return x_BTD.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Tensor:  # noqa: ARG004
            (gradient_BTD,) = gradients
            for _ in range(gradient_BTD.shape[1] // CHUNK):
                gradient_BTD = gradient_BTD + 0 * gradient_BTD.detach()
            return gradient_BTD  # type: ignore[no-any-return]

    def looped(x_BTD: Tensor) -> Tensor:
        return SelectBackward0.apply(x_BTD)  # type: ignore[no-any-return, no-untyped-call]

    result = CHECKS["sub-quadratic"](subject(looped))
    assert result.verdict == "failed"
    assert "gradient of a slice" not in result.evidence


# ---------------------------------------------------------------- decoding


@pytest.mark.parametrize(
    ("cheat", "reason"),
    [
        ("keeps_every_token_in_its_state", "the state grows: 128 bytes per token"),
        ("keeps_a_number_for_every_token", "the state grows: 8 bytes per token"),
        ("counts_in_the_sizes_of_its_state", "the state grows: 16 bytes per token"),
        ("steps_cost_more_and_more", "a step's work grows: by "),
    ],
)
def test_decoding_that_grows_is_refused_with_what_grows(cheat: str, reason: str) -> None:
    result = CHECKS["sub-quadratic"](subject_of(f"cheats/{cheat}"))
    assert result.verdict == "failed"
    assert result.evidence.startswith(reason)


@pytest.mark.parametrize(
    "honest", ["decodes_by_chunks", "decodes_in_a_window_of_300", "keeps_sums_at_every_scale"]
)
def test_a_state_that_stops_or_grows_as_a_logarithm_passes(honest: str) -> None:
    assert CHECKS["sub-quadratic"](subject_of(f"honest/{honest}")).verdict == "passed"


class Decodes(nn.Linear):
    """The sum of all tokens; what its step does beside, a subclass says."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        return super().forward(x_BTD).cumsum(dim=1)

    def initial_state(self, batch: int) -> Tensor:
        return self.weight.new_zeros(batch, self.out_features)

    def step(self, x_BD: Tensor, state_BD: Tensor) -> tuple[Tensor, Tensor]:
        state_BD = state_BD + super().forward(x_BD)
        return state_BD, state_BD


def verdict_of(step: Callable[[Decodes, Tensor, Tensor], tuple[Tensor, Tensor]]) -> Any:
    kind = type("Mixer", (Decodes,), {"step": step})
    return CHECKS["sub-quadratic"](Subject(lambda width, _: kind(width, width), 32, 2))


def test_an_operator_of_unknown_cost_in_a_step_is_refused_by_name() -> None:
    def step(self: Decodes, x_BD: Tensor, state_BD: Tensor) -> tuple[Tensor, Tensor]:
        torch.linalg.pinv(x_BD)
        return Decodes.step(self, x_BD, state_BD)

    result = verdict_of(step)
    assert result.verdict == "failed"
    assert "in decoding, the cost of linalg_pinv is not known" in result.evidence


def test_a_step_that_is_not_implemented_is_left_to_the_check_of_decoding() -> None:
    def step(self: Decodes, x_BD: Tensor, state_BD: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    assert verdict_of(step).verdict == "passed"


def test_a_step_that_raises_while_it_is_counted_is_refused() -> None:
    def step(self: Decodes, x_BD: Tensor, state_BD: Tensor) -> tuple[Tensor, Tensor]:
        if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
            raise RuntimeError("somebody counts")
        return Decodes.step(self, x_BD, state_BD)

    result = verdict_of(step)
    assert result.verdict == "failed"
    assert "somebody counts" in result.evidence


# ---------------------------------------------------------------- lengths


def work(elements: int) -> Work:
    found = Work()
    found.elements["mul"] = elements
    return found


def test_growth_is_followed_to_lengths_of_the_same_remainder() -> None:
    asked = []

    def count(length: int) -> Work:
        asked.append(length)
        return work(length * length)

    counted = [(length, work(length * length)) for length in (257, 1029)]
    assert first_grown(counted, ("elements",), count) is not None
    assert {length % 64 for length in asked} == {1029 % 64}


def test_a_jump_at_one_length_is_no_growth() -> None:
    # What is padded to a power of two: 1,030 tokens take as much as 2,048.
    def padded(length: int) -> Work:
        return work(100 * 2 ** (length - 1).bit_length())

    counted = [(length, padded(length)) for length in (250, 1030)]
    assert first_grown(counted, ("elements",), padded) is None


def test_growth_at_one_of_two_neighbours_is_growth() -> None:
    def even_only(length: int) -> Work:
        return work(100 * length if length % 2 else 100 * length + length * length)

    counted = [(length, even_only(length)) for length in (257, 1029, 1030)]
    grown = first_grown(counted, ("elements",), even_only)
    assert grown is not None
    assert grown.long == 1030


def test_lengths_are_drawn_anew_for_each_seed() -> None:
    drawn = {_drawn(Subject(lambda w, _: nn.Linear(w, w), 32, 2, seed=s)) for s in range(20)}
    assert len(drawn) > 8
    for short, odd, even in drawn:
        assert short % 2 == odd % 2 == 1
        assert even % 4 == 2


def test_what_grows_only_once_its_norm_has_moved_is_refused() -> None:
    result = CHECKS["sub-quadratic"](subject_of("cheats/quadratic_once_its_norm_has_moved"))
    assert result.verdict == "failed"
    assert "bmm" in result.evidence
