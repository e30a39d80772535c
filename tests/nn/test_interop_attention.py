"""Attention that stands in for fla's and flash_attn's operators, against a definition by loops.

Shape letters: B batch, T time, Q query heads, H heads, K key size, V value size.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from move37.nn.interop import attention

B, T, Q, H, K, V = 2, 37, 4, 2, 4, 3
CU_SEQLENS = torch.tensor([0, 1, 18, 20, 37], dtype=torch.int32)  # lengths 1, 17, 2, 17


def draw(*shape: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


Given = dict[str, Tensor]


def given(rows: int = B, times: int = T) -> Given:
    return {
        "q": draw(rows, T, Q, K, seed=1)[:, :times],
        "k": draw(rows, T, H, K, seed=2)[:, :times],
        "v": draw(rows, T, H, V, seed=3)[:, :times],
        "r": draw(rows, T, Q, K, seed=4)[:, :times],
        "w": F.normalize(draw(rows, T, H, K, seed=5), dim=-1)[:, :times],
        "beta": 2 * draw(rows, T, H, seed=6).sigmoid()[:, :times],
        "g": F.logsigmoid(draw(rows, T, Q, seed=7))[:, :times],
        "gk": F.logsigmoid(draw(rows, T, Q, K, seed=8))[:, :times],
        "rates": draw(rows, T, Q, seed=9).sigmoid()[:, :times],
    }


def by_pairs(x: Given, score: Callable[..., Tensor], window: int | None = None) -> Tensor:
    """Softmax over s <= t of score(x of one row and query head, t, s), times the values."""
    rows = []
    for b in range(len(x["q"])):
        heads = []
        for head in range(Q):
            own = {
                name: value[b, :, head if value.shape[2] == Q else head // (Q // H)]
                for name, value in x.items()
            }
            outputs = []
            for t in range(x["q"].shape[1]):
                first = 0 if window is None else max(0, t - window + 1)
                scores = [score(own, t, s) for s in range(first, t + 1)]
                outputs.append(torch.stack(scores).softmax(dim=0) @ own["v"][first : t + 1])
            heads.append(torch.stack(outputs))
        rows.append(torch.stack(heads, dim=1))
    return torch.stack(rows)


def forgetting(x: Given, t: int, s: int) -> Tensor:
    return 0.5 * (x["q"][t] @ x["k"][s]) + x["g"][s + 1 : t + 1].sum()


def plain(x: Given, t: int, s: int) -> Tensor:
    return 0.5 * (x["q"][t] @ x["k"][s])


def wall(x: Given, t: int, s: int) -> Tensor:
    return 0.5 * (x["q"][t] * x["gk"][s + 1 : t + 1].sum(dim=0).exp()) @ x["k"][s]


def path(x: Given, t: int, s: int) -> Tensor:
    k = x["k"][s]
    for n in range(s + 1, t + 1):
        k = k - x["beta"][n] * (x["w"][n] @ k) * x["w"][n]
    return 0.5 * (x["q"][t] @ k + x["g"][s + 1 : t + 1].sum())


def run_path(x: Given, cu_seqlens: Tensor | None = None) -> Tensor:
    q, k, v, w, beta, g = (x[name] for name in ("q", "k", "v", "w", "beta", "g"))
    return attention.parallel_path_attn(q, k, v, w, beta, g, 0.5, cu_seqlens)[0]


def run_forgetting(x: Given, cu_seqlens: Tensor | None = None) -> Tensor:
    q, k, v, g = (x[name] for name in ("q", "k", "v", "g"))
    return attention.parallel_forgetting_attn(q, k, v, g, cu_seqlens=cu_seqlens)


def run_plain(x: Given, cu_seqlens: Tensor | None = None) -> Tensor:
    return attention.parallel_attn(x["q"], x["k"], x["v"], cu_seqlens=cu_seqlens)


def run_wall(x: Given, cu_seqlens: Tensor | None = None) -> Tensor:
    q, k, v, g = (x[name] for name in ("q", "k", "v", "gk"))
    return attention.parallel_wall_attn(q, k, v, g, cu_seqlens=cu_seqlens)


# Each with its scores (K = 4: a scale of 0.5), and what it takes.
BY_SCORES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], str]] = {
    "softmax": (run_plain, plain, "q k v"),
    "forgetting": (run_forgetting, forgetting, "q k v g"),
    "path": (run_path, path, "q k v w beta g"),
    "wall": (run_wall, wall, "q k v gk"),
}


@pytest.mark.parametrize("name", BY_SCORES)
class TestSoftmaxOfScores:
    @pytest.mark.parametrize("times", [1, 32, 37])  # PaTH goes by chunks of 32
    def test_outputs_are_those_of_the_definition(self, name: str, times: int) -> None:
        run, score, _ = BY_SCORES[name]
        x = given(1, times)
        close(run(x), by_pairs(x, score))

    def test_gradients_are_those_of_the_definition(self, name: str) -> None:
        run, score, takes = BY_SCORES[name]
        found = []
        for fast in (True, False):
            x = given(1, 11)
            leaves = [x[key].requires_grad_() for key in takes.split()]
            o = run(x) if fast else by_pairs(x, score)
            found.append(torch.autograd.grad(o.square().sum(), leaves))
        close(*found)

    def test_packed_sequences_equal_each_alone(self, name: str) -> None:
        run, _, _ = BY_SCORES[name]
        x = given(1)
        packed = run(x, CU_SEQLENS)
        for a, b in pairwise(CU_SEQLENS.tolist()):
            close(packed[:, a:b], run({key: value[:, a:b] for key, value in x.items()}))


def test_path_goes_through_many_chunks() -> None:
    x = {key: torch.cat([value] * 3, dim=1)[:, :68] for key, value in given(1).items()}
    o = run_path(x)
    own = {key: value[0, :, 0] for key, value in x.items()}
    weight = torch.stack([path(own, 67, s) for s in range(68)]).softmax(dim=0)
    close(o[0, 67, 0], weight @ own["v"])


@pytest.mark.parametrize("window", [1, 9])
def test_a_window_holds_the_token_itself_and_those_before(window: int) -> None:
    x = given(1)
    found = attention.parallel_attn(x["q"], x["k"], x["v"], x["g"], window_size=window)
    close(found, by_pairs(x, forgetting, window))


def test_a_sink_takes_a_share_and_gives_nothing() -> None:
    x, sink = given(), draw(Q, seed=30)
    o = attention.parallel_attn(x["q"], x["k"], x["v"], sink_bias=sink)
    first = 0.5 * (x["q"][:, 0] * x["k"][:, 0].repeat_interleave(2, dim=1)).sum(dim=-1)
    share = (first - sink).sigmoid()[..., None]
    close(o[:, 0], share * x["v"][:, 0].repeat_interleave(2, dim=1))


class TestFlash:
    def test_causal_is_softmax_attention(self) -> None:
        x = given()
        found = attention.flash_attn_func(x["q"], x["k"], x["v"], causal=True)
        close(found, attention.parallel_attn(x["q"], x["k"], x["v"]))

    def test_it_is_not_causal_unless_asked(self) -> None:
        x = given()
        o = attention.flash_attn_func(x["q"], x["k"], x["v"])
        k, v = (x[name].repeat_interleave(2, dim=2) for name in ("k", "v"))
        weight = (0.5 * torch.einsum("bthk,bshk->bhts", x["q"], k)).softmax(dim=-1)
        close(o, torch.einsum("bhts,bshv->bthv", weight, v))

    def test_a_window_counts_the_keys_to_the_left(self) -> None:
        x = given()
        found = attention.flash_attn_func(x["q"], x["k"], x["v"], causal=True, window_size=(8, -1))
        close(found, attention.parallel_attn(x["q"], x["k"], x["v"], window_size=9))

    def test_the_last_query_stands_at_the_last_key(self) -> None:
        x = given()
        whole = attention.flash_attn_func(x["q"], x["k"], x["v"], causal=True)
        last = attention.flash_attn_func(x["q"][:, -3:], x["k"], x["v"], causal=True)
        close(last, whole[:, -3:])

    def test_packed_sequences_have_borders_of_their_own(self) -> None:
        x = given(1)
        packed = attention.flash_attn_varlen_func(
            x["q"][0], x["k"][0], x["v"][0], CU_SEQLENS, CU_SEQLENS, 17, 17, causal=True
        )
        close(packed[None], run_plain(x, CU_SEQLENS))

    def test_dropout_is_refused(self) -> None:
        x = given()
        with pytest.raises(NotImplementedError, match="has no dropout_p"):
            attention.flash_attn_func(x["q"], x["k"], x["v"], 0.1)


@pytest.mark.parametrize("current", [True, False])
def test_the_nearest_key_breaks_the_stick_first(current: bool) -> None:
    x = given(1, 12)
    o, rest = attention.parallel_stickbreaking_attn(x["q"], x["k"], x["v"], attend_current=current)
    for head in range(Q):
        q, k, v = x["q"][0, :, head], x["k"][0, :, head // 2], x["v"][0, :, head // 2]
        for t in range(12):
            left, expected = (
                torch.ones((), dtype=torch.float64),
                torch.zeros(V, dtype=torch.float64),
            )
            for s in range(t if current else t - 1, -1, -1):
                piece = left * (0.5 * (q[t] @ k[s])).sigmoid()
                left, expected = left - piece, expected + piece * v[s]
            close(o[0, t, head], expected)
            close(rest[0, t, head], left)


def test_deltaformer_takes_from_each_value_what_was_known() -> None:
    x = given(1, 12)
    k, v = draw(1, 12, Q, K, seed=40), draw(1, 12, Q, V, seed=41)
    beta = draw(1, 12, Q, seed=42).sigmoid()
    o = attention.deltaformer_attn(x["q"], k, v, beta)
    for head in range(Q):
        score = 0.5 * (x["q"][0, :, head] @ k[0, :, head].T)
        u: list[Tensor] = []
        for t in range(12):
            known = torch.zeros(V, dtype=torch.float64)
            if t:
                known = score[t, :t].softmax(dim=0) @ torch.stack(u)
            u.append(v[0, t, head] - beta[0, t, head] * known)
            close(o[0, t, head], score[t, : t + 1].softmax(dim=0) @ torch.stack(u))


def test_parallax_corrects_weights_to_first_order() -> None:
    x = given(1, 12)
    o = attention.parallel_parallax(x["q"], x["r"], x["k"], x["v"])
    for head in range(Q):
        k, v = x["k"][0, :, head // 2], x["v"][0, :, head // 2]
        for t in range(12):
            p = (0.5 * (k[: t + 1] @ x["q"][0, t, head])).softmax(dim=0)
            second = k[: t + 1] @ x["r"][0, t, head]
            close(o[0, t, head], (p * (1 + p @ second - second)) @ v[: t + 1])


class TestBlocks:
    SIZE, COUNT = 4, 4

    def run(self, x: Given, cu_seqlens: Any = None) -> Tensor:
        return attention.parallel_nsa(
            x["q"],
            x["k"],
            x["v"],
            x["rates"],
            x["rates"] ** 2,
            1 - x["rates"],
            block_counts=self.COUNT,
            block_size=self.SIZE,
            window_size=6,
            cu_seqlens=cu_seqlens,
        )

    def expected(self, x: Given, b: int, t: int, head: int) -> Tensor:
        """Of one token: the blocks by their mean weight in both query heads of the group."""
        group = [2 * (head // 2), 2 * (head // 2) + 1]
        k, v, size = x["k"][b, :, head // 2], x["v"][b, :, head // 2], self.SIZE
        past = [range(n * size, (n + 1) * size) for n in range((t + 1) // size)]
        weight: dict[int, float] = {}
        o = torch.zeros(V, dtype=torch.float64)
        if past:
            means = torch.stack([k[list(block)].mean(dim=0) for block in past])
            values = torch.stack([v[list(block)].mean(dim=0) for block in past])
            shares = [(0.5 * (means @ x["q"][b, t, each])).softmax(dim=0) for each in group]
            o = x["rates"][b, t, head] * (shares[head % 2] @ values)
            weight = dict(enumerate((shares[0] + shares[1]).tolist()))
        own = t // size
        best = {0, own, max(own - 1, 0)}
        others = sorted((n for n in weight if n not in best), key=lambda n: -weight[n])
        best |= {*others[: self.COUNT - len(best)]}
        places = [s for s in range(t + 1) if s // size in best]
        near = list(range(max(0, t - 5), t + 1))
        for seen, rate in ((places, x["rates"] ** 2), (near, 1 - x["rates"])):
            p = (0.5 * (k[seen] @ x["q"][b, t, head])).softmax(dim=0)
            o = o + rate[b, t, head] * (p @ v[seen])
        return o

    def test_sparse_attention_adds_means_best_blocks_and_a_window(self) -> None:
        x = given()
        o = self.run(x)
        for t in (0, 3, 4, 8, 19, 20, 35, 36):
            for head in range(Q):
                close(o[1, t, head], self.expected(x, 1, t, head))

    def test_packed_sequences_equal_each_alone(self) -> None:
        x = given(1)
        packed = self.run(x, CU_SEQLENS)
        for a, b in pairwise(CU_SEQLENS.tolist()):
            close(packed[:, a:b], self.run({key: value[:, a:b] for key, value in x.items()}))

    def test_borders_may_be_a_pair(self) -> None:
        x = given(1)
        close(self.run(x, (CU_SEQLENS, CU_SEQLENS)), self.run(x, CU_SEQLENS))
        with pytest.raises(NotImplementedError, match="no cu_seqlens of queries"):
            self.run(x, (CU_SEQLENS, CU_SEQLENS[1:]))

    def test_blocks_may_be_named(self) -> None:
        x = given(1, 12)
        blocks = torch.tensor([0, -1]).expand(1, 12, H, 2)
        o = attention.parallel_nsa(x["q"], x["k"], x["v"], block_indices=blocks, block_size=12)
        close(o, run_plain(x))

    def test_without_gate_or_blocks_it_says_what_it_needs(self) -> None:
        x = given()
        with pytest.raises(ValueError, match="needs g_cmp or block_indices"):
            attention.parallel_nsa(x["q"], x["k"], x["v"])

    def test_block_mixture_sees_its_own_chunk_and_the_best_before(self) -> None:
        q, k, v = (draw(1, T, Q, size, seed=n) for n, size in enumerate((K, K, V)))
        o = attention.parallel_moba(q, k, v, torch.tensor([0, T]), T, self.SIZE, 3)
        for t in range(T):
            own = t // self.SIZE
            for head in range(Q):
                rank = [
                    float(
                        k[0, n * self.SIZE : (n + 1) * self.SIZE, head].mean(dim=0) @ q[0, t, head]
                    )
                    for n in range(own)
                ]
                best = {own, *sorted(range(own), key=lambda n: -rank[n])[:2]}
                seen = [s for s in range(t + 1) if s // self.SIZE in best]
                p = (0.5 * (k[0, seen, head] @ q[0, t, head])).softmax(dim=0)
                close(o[0, t, head], p @ v[0, seen, head])


def test_what_decodes_says_so_when_it_is_called() -> None:
    operator = attention.only_for_decoding("attn_decoding_one_step")
    with pytest.raises(NotImplementedError, match="fla's attn_decoding_one_step decodes from a"):
        operator(1, cu_seqlens=None)
