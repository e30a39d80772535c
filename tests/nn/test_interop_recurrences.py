"""The further recurrences that stand in for fla's operators, against a token-by-token definition.

Shape letters: B batch, T time, H heads, K key size, V value size, M slots, D width, L levels.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from move37.nn.interop import helpers, modules, operators, recurrences

B, T, H, K, V, M, D = 2, 37, 2, 4, 3, 5, 6
CU_SEQLENS = torch.tensor([0, 1, 18, 20, 37], dtype=torch.int32)  # lengths 1, 17, 2, 17


def draw(*shape: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


Given = dict[str, Tensor]


def given(rows: int = B) -> Given:
    """What operators take, by fla's names."""
    shapes = {"q": K, "k": K, "v": V, "s": M, "p": K, "w": V, "vk": K}
    drawn = {name: draw(rows, T, H, size, seed=n) for n, (name, size) in enumerate(shapes.items())}
    unit = {name: F.normalize(drawn[name], dim=-1) for name in ("k", "p")}
    gates = {
        "g": F.logsigmoid(draw(rows, T, H, seed=20)),
        "gk": F.logsigmoid(draw(rows, T, H, K, seed=21)),
        "gm": F.logsigmoid(draw(rows, T, H, M, seed=22)),
        "b": draw(rows, T, H, K, seed=23).sigmoid(),
        "beta": draw(rows, T, H, seed=24).sigmoid(),
        "g_atk": F.logsigmoid(draw(rows, T, H, seed=25)),
        "beta_atk": draw(rows, T, H, seed=26).sigmoid(),
        "x": draw(rows, T, D, seed=27),
        "gx": F.logsigmoid(draw(rows, T, D, seed=28)),
    }
    return {**drawn, **unit, **gates}


class Case(NamedTuple):
    """An operator, its definition for one token, and the shapes of its states behind the batch.

    `run` maps the arguments, the initial states (None: zero) and options to the outputs and final
    states; `step` maps a token's arguments and the states to its output and the next states.
    """

    run: Callable[..., tuple[Tensor, Any]]
    step: Callable[..., tuple[Tensor, list[Tensor]]]
    states: list[tuple[int, ...]]
    takes: tuple[str, ...]


def read(S: Tensor, q: Tensor, scale: float = K**-0.5) -> Tensor:
    return scale * torch.einsum("bhkv,bhk->bhv", S, q)


def outer(k: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bhk,bhv->bhkv", k, v)


def state(states: Any) -> Any:
    return None if states is None else states[0]


def step_gsa(x: Given, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    keys, values = states
    decay = x["gm"].exp()
    keys = keys * decay[:, :, None] + outer(x["k"], x["s"])
    values = values * decay[..., None] + outer(x["s"], x["v"])
    return read(values, read(keys, x["q"]).softmax(dim=-1), 1.0), [keys, values]


def step_rwkv6(x: Given, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    (S,), stored = states, outer(x["k"], x["v"])
    o = read(S + draw(H, K, seed=99)[..., None] * stored, x["q"])
    return o, [S * x["gk"].exp()[..., None] + stored]


def step_rwkv7(x: Given, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    (S,) = states
    erased = read(S, -x["p"], 1.0)
    S = S * x["gk"].exp()[..., None] + outer(x["p"] * x["b"], erased) + outer(x["k"], x["v"])
    return read(S, x["q"], 1.0), [S]


def step_comba(x: Given, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    S = states[0] * x["g"].exp()[..., None, None]
    new = x["beta"][..., None] * (x["v"] - read(S, x["p"], 1.0))
    S = S + outer(x["k"], new)
    return read(S, x["q"]), [S]


def step_gdn2(x: Given, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    S = states[0] * x["gk"].exp()[..., None]
    S = S + outer(x["k"], x["w"] * x["v"] - read(S, x["b"] * x["k"], 1.0))
    return read(S, x["q"]), [S]


def preconditioned(x: Given, decay: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    S, A = states
    A = A * x["g_atk"].exp()[..., None] + x["beta_atk"][..., None] * x["k"] ** 2
    ratio = (A + 1e-6).log() + 0.2
    written = x["k"] * 1.5 ** -(ratio / (1 + ratio.abs()))
    S = S * decay
    S = S + outer(written, x["beta"][..., None] * (x["v"] - read(S, x["k"], 1.0)))
    return read(S, x["q"]), [S, A]


def step_hgrn(x: Given, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    h = states[0] * x["gx"].exp() + x["x"]
    return h, [h]


def step_lightnet(x: Given, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    S, z = states
    later = torch.logaddexp(z, x["p"])
    S = S * (z - later).exp()[..., None] + outer((x["p"] - later).exp(), x["v"])
    return read(S, x["q"]), [S, later]


def step_mesa(x: Given, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    stored, decay = x["beta"][..., None] * x["k"], x["g"].exp()[..., None, None]
    first = states[0] * decay + outer(stored, x["k"])
    second = states[1] * decay + outer(stored, x["vk"])
    ridge = 0.3 * torch.eye(K, dtype=torch.float64)
    return read(second, torch.linalg.solve(first + ridge, x["q"]), 1.0), [first, second]


def symmetric(states: Any) -> Any:
    """Keys that were seen give a matrix without negative eigenvalues."""
    return (None, None) if states is None else (states[0] @ states[0].mT, states[1])


R = recurrences
MATRIX = (H, K, V)
CASES: dict[str, Case] = {
    "gsa": Case(
        lambda x, states, **o: R.chunk_gsa(
            x["q"], x["k"], x["v"], x["s"], x["gm"], initial_state=states, **o
        ),
        step_gsa,
        [(H, K, M), (H, M, V)],
        ("q", "k", "v", "s", "gm"),
    ),
    "rwkv6": Case(
        lambda x, states, **o: R.chunk_rwkv6(
            x["q"],
            x["k"],
            x["v"],
            x["gk"],
            draw(H, K, seed=99),
            initial_state=state(states),
            **o,
        ),
        step_rwkv6,
        [MATRIX],
        ("q", "k", "v", "gk"),
    ),
    "rwkv7": Case(
        lambda x, states, **o: R.chunk_rwkv7(
            x["q"],
            x["gk"],
            x["k"],
            x["v"],
            -x["p"],
            x["p"] * x["b"],
            initial_state=state(states),
            **o,
        ),
        step_rwkv7,
        [MATRIX],
        ("q", "k", "v", "gk", "p", "b"),
    ),
    "comba": Case(
        lambda x, states, **o: R.chunk_comba(
            x["q"],
            x["k"],
            x["v"],
            p=x["p"],
            g=x["g"],
            beta=x["beta"],
            initial_state=state(states),
            **o,
        ),
        step_comba,
        [MATRIX],
        ("q", "k", "v", "p", "g", "beta"),
    ),
    "gdn2": Case(
        lambda x, states, **o: R.chunk_gdn2(
            x["q"], x["k"], x["v"], x["gk"], x["b"], x["w"], initial_state=state(states), **o
        ),
        step_gdn2,
        [MATRIX],
        ("q", "k", "v", "gk", "b", "w"),
    ),
    "precond_gated_delta_rule": Case(
        lambda x, states, **o: together(
            R.chunk_precond_gated_delta_rule(
                *(x[n] for n in ("q", "k", "v", "g_atk", "g", "beta_atk", "beta")),
                initial_state=state(states),
                initial_A_state=None if states is None else states[1].abs(),
                use_qk_l2norm_in_kernel=False,
                **o,
            )
        ),
        lambda x, states: preconditioned(x, x["g"].exp()[..., None, None], states),
        [MATRIX, (H, K)],
        ("q", "k", "v", "g", "g_atk", "beta_atk", "beta"),
    ),
    "precond_kda": Case(
        lambda x, states, **o: together(
            R.chunk_precond_kda(
                *(x[n] for n in ("q", "k", "v", "gk", "g_atk", "beta_atk", "beta")),
                initial_state=state(states),
                initial_A_state=None if states is None else states[1].abs(),
                **o,
            )
        ),
        lambda x, states: preconditioned(x, x["gk"].exp()[..., None], states),
        [MATRIX, (H, K)],
        ("q", "k", "v", "gk", "g_atk", "beta_atk", "beta"),
    ),
    "hgrn": Case(
        lambda x, states, **o: R.chunk_hgrn(x["x"], x["gx"], initial_state=state(states), **o),
        step_hgrn,
        [(D,)],
        ("x", "gx"),
    ),
    "lightnet": Case(
        lambda x, states, **o: R.chunk_lightnet(x["q"], x["p"], x["v"], initial_state=states, **o),
        step_lightnet,
        [MATRIX, (H, K)],
        ("q", "p", "v"),
    ),
    "mesa_net": Case(
        lambda x, states, **o: together(
            R.chunk_mesa_net(
                x["q"],
                x["k"],
                x["vk"],
                x["g"],
                x["beta"],
                torch.full((H, K), 0.3, dtype=torch.float64),
                *symmetric(states),
                **o,
            )
        ),
        step_mesa,
        [(H, K, K), (H, K, K)],
        ("q", "k", "vk", "g", "beta"),
    ),
}
WITHOUT_ZERO_STATE = ("lightnet",)  # its first sum is that of its first token


def together(found: tuple[Any, ...]) -> tuple[Tensor, list[Any]]:
    return found[0], list(found[1:])


def slow(case: Case, x: Given, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    outputs = []
    for t in range(x["q"].shape[1]):
        o, states = case.step({name: value[:, t] for name, value in x.items()}, states)
        outputs.append(o)
    return torch.stack(outputs, dim=1), states


def start(name: str, rows: int) -> list[Tensor]:
    states = [draw(rows, *shape, seed=50 + n) for n, shape in enumerate(CASES[name].states)]
    if name.startswith("precond"):
        states[1] = states[1].abs()
    return states


def as_list(states: Any) -> list[Tensor]:
    return [states] if isinstance(states, Tensor) else list(states)


def slow_start(name: str, states: list[Tensor]) -> list[Tensor]:
    return list(symmetric(states)) if name == "mesa_net" else states


@pytest.mark.parametrize("name", CASES)
class TestRecurrences:
    def test_outputs_and_states_are_those_of_the_definition(self, name: str) -> None:
        case, x, states = CASES[name], given(), start(name, B)
        o, last = case.run(x, states, output_final_state=True)
        expected, expected_last = slow(case, x, slow_start(name, states))
        close(o, expected)
        close(as_list(last), expected_last)

    def test_without_a_state_it_starts_at_zero(self, name: str) -> None:
        if name in WITHOUT_ZERO_STATE:
            x, case = given(), CASES[name]
            zero = [torch.zeros(B, *MATRIX, dtype=torch.float64), x["p"][:, 0] - 1e9]
            first = R.chunk_lightnet(x["q"], x["p"], x["v"])[0]
            close(first, slow(case, x, zero)[0])
            return
        case, x = CASES[name], given()
        zero = [torch.zeros(B, *shape, dtype=torch.float64) for shape in case.states]
        close(case.run(x, None)[0], slow(case, x, zero)[0])

    def test_packed_sequences_have_states_of_their_own(self, name: str) -> None:
        case, x, states = CASES[name], given(rows=1), start(name, 4)
        packed, last = case.run(x, states, cu_seqlens=CU_SEQLENS, output_final_state=True)
        for n, (first, end) in enumerate(pairwise(CU_SEQLENS.tolist())):
            part = {key: value[:, first:end] for key, value in x.items()}
            own = [each[n : n + 1] for each in slow_start(name, states)]
            o, expected = slow(case, part, own)
            close(packed[:, first:end], o)
            close([each[n : n + 1] for each in as_list(last)], expected)

    def test_packed_sequences_without_states_equal_each_alone(self, name: str) -> None:
        case, x = CASES[name], given(rows=1)
        packed, _ = case.run(x, None, cu_seqlens=CU_SEQLENS)
        for first, end in pairwise(CU_SEQLENS.tolist()):
            part = {key: value[:, first:end] for key, value in x.items()}
            close(packed[:, first:end], case.run(part, None)[0])

    def test_gradients_are_those_of_the_definition(self, name: str) -> None:
        case, found = CASES[name], []
        for run in ("fast", "slow"):
            x = {key: value[:, :19].clone() for key, value in given(rows=1).items()}
            states = start(name, 1)
            leaves = [x[key].requires_grad_() for key in case.takes]
            leaves += [each.requires_grad_() for each in states]
            if run == "fast":
                o, last = case.run(x, states, output_final_state=True)
            else:
                o, last = slow(case, x, slow_start(name, states))
            total = o.square().sum() + sum(each.square().sum() for each in as_list(last))
            found.append(torch.autograd.grad(total, leaves))
        close(*found)

    def test_half_precision_comes_out_in_half_precision(self, name: str) -> None:
        case = CASES[name]
        x = {key: value.bfloat16() for key, value in given().items()}
        wide = {key: value.double() for key, value in x.items()}
        o, expected = case.run(x, None)[0], case.run(wide, None)[0]
        assert o.dtype == torch.bfloat16
        torch.testing.assert_close(o.double(), expected, rtol=0.05, atol=0.05)

    def test_an_option_that_is_not_covered_is_named(self, name: str) -> None:
        with pytest.raises(NotImplementedError, match="has no reverse"):
            CASES[name].run(given(), None, reverse=True)


def test_slots_without_gates_keep_shares_of_all_that_was_given() -> None:
    x, share = given(), draw(B, T, H, M, seed=3).exp()
    o, _ = R.chunk_abc(x["q"], x["k"], x["v"], share.log())
    keys, values, total = (
        torch.zeros(B, H, *size, dtype=torch.float64) for size in [(K, M), (M, V), (M,)]
    )
    outputs = []
    for t in range(T):
        total = total + share[:, t]
        keys = keys + outer(x["k"][:, t], share[:, t])
        values = values + outer(share[:, t], x["v"][:, t])
        weight = (read(keys, x["q"][:, t]) / total).softmax(dim=-1)
        outputs.append(read(values / total[..., None], weight, 1.0))
    close(o, torch.stack(outputs, dim=1))
    close(R.chunk_gsa(x["q"], x["k"], x["v"], share.log())[0], o)


def test_query_heads_share_slots_in_groups() -> None:
    x, q = given(), draw(B, T, 2 * H, K, seed=60)
    o, _ = R.chunk_gsa(q, x["k"], x["v"], x["s"], x["gm"])
    for group in range(2):
        alone, _ = R.chunk_gsa(q[:, :, group::2], x["k"], x["v"], x["s"], x["gm"])
        close(o[:, :, group::2], alone)


@pytest.mark.parametrize("gated", [True, False])
def test_delta_product_takes_several_steps_a_token(gated: bool) -> None:
    x, steps = given(), 3
    k = F.normalize(draw(B, T * steps, H, K, seed=61), dim=-1)
    v, beta = draw(B, T * steps, H, V, seed=62), draw(B, T * steps, H, seed=63).sigmoid()
    S = draw(B, *MATRIX, seed=64)
    g = x["g"] if gated else None
    found = R.chunk_gated_delta_product(
        x["q"], k, v, g, beta, steps, initial_state=S, output_final_state=True
    )
    outputs = []
    for t in range(T):
        S = S * x["g"][:, t].exp()[..., None, None] if gated else S
        for n in range(t * steps, (t + 1) * steps):
            new = beta[:, n, :, None] * (v[:, n] - read(S, k[:, n], 1.0))
            S = S + outer(k[:, n], new)
        outputs.append(read(S, x["q"][:, t]))
    close(found, (torch.stack(outputs, dim=1), S))


def test_packed_delta_products_equal_each_alone() -> None:
    x, k, v = given(1), draw(1, 2 * T, H, K, seed=61) / 3, draw(1, 2 * T, H, V, seed=62)
    beta = draw(1, 2 * T, H, seed=63).sigmoid()
    packed, _ = R.chunk_gated_delta_product(x["q"], k, v, x["g"], beta, 2, cu_seqlens=CU_SEQLENS)
    for a, b in pairwise(CU_SEQLENS.tolist()):
        wide = slice(2 * a, 2 * b)
        part = (x["q"][:, a:b], k[:, wide], v[:, wide], x["g"][:, a:b], beta[:, wide])
        close(packed[:, a:b], R.chunk_gated_delta_product(*part, 2)[0])


def weighted(weights: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("bhts,bshv->bthv", weights.tril(), v)


def products(q: Tensor, k: Tensor) -> Tensor:
    return torch.einsum("bthk,bshk->bhts", q, k)


def test_based_weighs_by_three_terms_of_the_exponential() -> None:
    x = given()
    a = K**-0.5 * products(x["q"], x["k"])
    weight = 1 + a + a**2 / 2
    total = weight.tril().sum(dim=-1).transpose(1, 2)[..., None] + 1e-6
    close(R.parallel_based(x["q"], x["k"], x["v"]), weighted(weight, x["v"]) / total)
    close(R.parallel_based(x["q"], x["k"], x["v"], use_norm=False), weighted(weight, x["v"]))


def test_rebased_weighs_by_squares() -> None:
    x = given()
    weight = (K**-0.5 * products(x["q"], x["k"])) ** 2
    total = weight.tril().sum(dim=-1).transpose(1, 2)[..., None] + 1e-5
    close(R.parallel_rebased(x["q"], x["k"], x["v"]), weighted(weight, x["v"]) / total)


def log_linear(x: Given, scales: Tensor) -> Tensor:
    """By pairs: the level of (t, s) is the size of the block that has s and t in its two halves."""
    times = x["q"].shape[1]
    weight = products(x["q"], x["k"])
    total = x["g"].cumsum(dim=1)
    rows = []
    for t in range(times):
        levels = torch.tensor([(t ^ s).bit_length() for s in range(t + 1)])
        scale = scales[:, t][..., levels] * (total[:, t, None] - total[:, : t + 1]).exp().mT
        rows.append(
            torch.einsum("bhs,bshv->bhv", weight[:, :, t, : t + 1] * scale, x["v"][:, : t + 1])
        )
    return torch.stack(rows, dim=1)


LEVELS = 7


class TestLogLinearAttention:
    @pytest.mark.parametrize("times", [1, 2, 3, 32, 37])
    def test_each_level_has_a_scale_of_its_own(self, times: int) -> None:
        x = {key: value[:, :times] for key, value in given().items()}
        scales = draw(B, times, H, LEVELS, seed=70)
        o, _ = R.chunk_log_linear_attn(x["q"], x["k"], x["v"], x["g"], scales)
        close(o, log_linear(x, scales))

    def test_long_blocks_are_read_by_their_sums(self) -> None:
        """Blocks of more than `_PAIRS` keys: 150 positions have blocks of 64 and of 128."""
        x = {key: torch.cat([value] * 5, dim=1)[:, :150] for key, value in given().items()}
        scales = draw(B, 150, H, 9, seed=70)
        o, _ = R.chunk_log_linear_attn(x["q"], x["k"], x["v"], x["g"], scales)
        close(o, log_linear(x, scales))

    def test_gradients_are_those_of_the_definition(self) -> None:
        found = []
        for run in (lambda *a: R.chunk_log_linear_attn(*a)[0], None):
            x, scales = given(), draw(B, T, H, LEVELS, seed=70).requires_grad_()
            leaves = [x[key].requires_grad_() for key in ("q", "k", "v", "g")]
            o = log_linear(x, scales) if run is None else run(*leaves, scales)
            found.append(torch.autograd.grad(o.square().sum(), [*leaves, scales]))
        close(*found)

    def test_packed_sequences_equal_each_alone(self) -> None:
        x, scales = given(1), draw(1, T, H, LEVELS, seed=70)
        q, k, v, g = (x[key] for key in ("q", "k", "v", "g"))
        packed, _ = R.chunk_log_linear_attn(q, k, v, g, scales, cu_seqlens=CU_SEQLENS)
        for a, b in pairwise(CU_SEQLENS.tolist()):
            part = [value[:, a:b] for value in (q, k, v, g, scales)]
            alone, _ = R.chunk_log_linear_attn(part[0], part[1], part[2], part[3], part[4])
            close(packed[:, a:b], alone)

    def test_too_few_levels_are_refused(self) -> None:
        x = given()
        with pytest.raises(ValueError, match="at least 7 level_scales for 37 positions, got 6"):
            R.chunk_log_linear_attn(x["q"], x["k"], x["v"], x["g"], draw(B, T, H, 6, seed=70))


# ---------------------------------------------------------------- beside the operators


def test_rwkv7_by_its_other_arguments() -> None:
    x = given()
    one, _ = R.fused_mul_recurrent_rwkv7(x["q"], x["gk"], x["k"], x["v"], x["p"], x["b"])
    close(one, R.chunk_rwkv7(x["q"], x["gk"], x["k"], x["v"], -x["p"], x["p"] * x["b"])[0])


def test_rwkv7_mixes_each_stream_by_its_share() -> None:
    x, delta = draw(B, T, D, seed=1), draw(B, T, D, seed=2)
    shares = [draw(1, 1, D, seed=n) for n in range(5)]
    found = R.fused_addcmul_rwkv7(x, delta, *shares)
    close(list(found[:5]), [x + delta * share for share in shares])
    assert found[5] is None


def test_rwkv7_corrects_its_output_by_the_token_itself() -> None:
    x, o, g = given(), draw(B, T, H * V, seed=1), draw(B, T, H * V, seed=2)
    r_k = draw(H, K, seed=3)
    bonus = (x["q"] * x["k"] * r_k).sum(dim=-1)[..., None] * x["v"]
    close(R.gate_output_correction(o, x["q"], x["k"], r_k, x["v"], g), (o + bonus.flatten(2)) * g)


class TestTokenShift:
    def test_it_is_the_difference_to_the_token_before(self) -> None:
        x = draw(B, T, D, seed=1)
        expected = torch.cat([-x[:, :1], x[:, :-1] - x[:, 1:]], dim=1)
        close(helpers.token_shift(x), expected)

    def test_packed_sequences_equal_each_alone(self) -> None:
        x, cache = draw(1, T, D, seed=1), draw(4, D, seed=2)
        packed, last = helpers.token_shift(x, CU_SEQLENS, cache, output_cache=True)
        for n, (a, b) in enumerate(pairwise(CU_SEQLENS.tolist())):
            alone, own = helpers.token_shift(x[:, a:b], cache=cache[n : n + 1], output_cache=True)
            close(packed[:, a:b], alone)
            close(last[n : n + 1], own)


class TestIndices:
    def test_positions_begin_anew_with_each_sequence(self) -> None:
        cu_seqlens = torch.tensor([0, 2, 5])
        assert helpers.prepare_position_ids(cu_seqlens).tolist() == [0, 1, 0, 1, 2]
        assert helpers.prepare_sequence_ids(cu_seqlens).tolist() == [0, 0, 1, 1, 1]

    def test_a_mask_gives_lengths_and_borders(self) -> None:
        mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
        assert helpers.prepare_lens_from_mask(mask).tolist() == [2, 3]
        assert helpers.prepare_cu_seqlens_from_mask(mask).tolist() == [0, 2, 5]

    @pytest.mark.parametrize("reverse", [True, False])
    def test_sums_end_with_their_sequence(self, reverse: bool) -> None:
        x = draw(1, T, H, seed=1)
        found = helpers.chunk_global_cumsum(x, reverse, CU_SEQLENS, scale=2.0)
        for a, b in pairwise(CU_SEQLENS.tolist()):
            part = x[:, a:b].flip(1) if reverse else x[:, a:b]
            total = 2 * part.cumsum(dim=1)
            close(found[:, a:b], total.flip(1) if reverse else total)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_norm_of_state_space_layers_gates_before_or_after(first: bool, groups: int) -> None:
    x, z, weight = draw(B, T, D, seed=1), draw(B, T, D, seed=2), draw(D, seed=3)
    gated = x if first else x * F.silu(z)
    parts = gated.unflatten(-1, (groups, -1))
    normed = (parts / (parts.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()).flatten(-2)
    expected = normed * weight * (F.silu(z) if first else 1)
    size = None if groups == 1 else D // groups
    close(modules.rmsnorm_fn(x, weight, None, z, 1e-6, size, first), expected)


def test_taylor_features_give_three_terms_of_the_exponential() -> None:
    features, a, b = modules.TaylorFeatureMap(K), draw(K, seed=1), draw(K, seed=2)
    p = (a @ b) / K**0.5
    close(features(a) @ features(b), 1 + p + p**2 / 2)


def test_rebased_features_give_squares() -> None:
    features, a, b = modules.RebasedFeatureMap(K).double(), draw(K, seed=1), draw(K, seed=2)
    product = F.layer_norm(a, (K,)) @ F.layer_norm(b, (K,))
    close(features(a) @ features(b), product**2 / K)


@pytest.mark.parametrize(
    ("name", "act"),
    [("ReLU", F.relu), ("Swish", F.silu), ("SquaredReLU", lambda x: F.relu(x) ** 2)],
)
def test_a_feature_map_applies_its_activation(name: str, act: Any) -> None:
    x = draw(B, T, H, K, seed=1)
    close(getattr(modules, f"{name}FeatureMap")()(x), act(x))


def test_a_low_rank_map_starts_as_its_bias() -> None:
    low_rank = helpers.LoRA(D, V, 2)
    low_rank.set_bias_value(0.5)
    close(low_rank(torch.randn(3, D)), torch.full((3, V), 0.5))
    names = {"lora.0.weight": (2, D), "lora.2.weight": (V, 2), "lora.2.bias": (V,)}
    assert {name: tuple(x.shape) for name, x in low_rank.state_dict().items()} == names


def test_a_gate_is_computed_inside_gdn2_on_request() -> None:
    x, A_log, dt_bias = given(), draw(H, seed=1), draw(H * K, seed=2)
    inside, _ = R.chunk_gdn2(
        *(x[key] for key in ("q", "k", "v", "gk", "b", "w")),
        use_gate_in_kernel=True,
        A_log=A_log,
        dt_bias=dt_bias,
    )
    gate = operators.fused_kda_gate(x["gk"], A_log, dt_bias)
    before, _ = R.chunk_gdn2(x["q"], x["k"], x["v"], gate, x["b"], x["w"])
    close(inside, before)


def test_a_token_of_the_convolution_updates_its_cache() -> None:
    x, weight = draw(B, T, D, seed=1), draw(D, 4, seed=2)
    cache = torch.zeros(B, D, 4, dtype=torch.float64)
    steps = [modules.causal_conv1d_update(x[:, t], cache, weight=weight)[0] for t in range(T)]
    close(torch.stack(steps, dim=1), modules.causal_conv1d(x, weight)[0])
