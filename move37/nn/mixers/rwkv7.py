"""RWKV-7: a state that decays per channel, erases in one direction and writes in another."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class RWKV7(nn.Module):
    """The time mixing of RWKV-7, "Goose": the generalised delta rule.

    Per head, with a state S of shape (V, K) that starts at zero, and a direction e_t, |e_t| = 1:

        S <- S diag(w_t) - (S e_t) (a_t * e_t)^T + v_t k_t^T    decay, erase, write
        o_t = S r_t                                             read
        y_t = (norm(o_t) + (r_t . u * k_t) v_t) * g_t           own pair, gate

    with a decay w_t in (0.545, 1)^K and a rate a_t in (0, 1)^K of learning in context. r, k, v
    and the inputs of the gates are each mixed with the token before (token shift); e_t is k_t
    times a learned vector, normalised, and k_t is scaled by 1 + (a_t - 1) c. The exchange of
    values with the first layer is left out: a mixer knows no other layer. Shapes: B batch, T time,
    D model width, H heads, K = V head size. Time O(T H K V); the state holds H V K numbers and the
    last input. Peng et al. arXiv:2503.14456.
    """

    def __init__(self, dim: int, *, heads: int, rank: int = 16) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = ops.head_size(dim, heads)
        inner = heads * self.head_dim

        # How much of the token before each of r, w, k, v, a, g sees.
        self.shift = nn.Parameter(torch.linspace(0, 1, dim).repeat(6, 1))
        self.project_r = nn.Linear(dim, inner, bias=False)
        self.project_k = nn.Linear(dim, inner, bias=False)
        self.project_v = nn.Linear(dim, inner, bias=False)
        to_decay = nn.Linear(rank, inner)
        self.project_decay = nn.Sequential(nn.Linear(dim, rank, bias=False), nn.Tanh(), to_decay)
        self.project_rate = nn.Sequential(nn.Linear(dim, rank, bias=False), nn.Linear(rank, inner))
        self.project_gate = nn.Sequential(
            nn.Linear(dim, rank, bias=False), nn.Sigmoid(), nn.Linear(rank, inner, bias=False)
        )
        self.erased = nn.Parameter(torch.full((heads, self.head_dim), 0.85))
        self.slowed = nn.Parameter(torch.ones(heads, self.head_dim))
        self.bonus = nn.Parameter(torch.full((heads, self.head_dim), 0.1))
        self.norm = nn.GroupNorm(heads, inner, eps=self.head_dim * 1e-5)
        self.project_out = nn.Linear(inner, dim, bias=False)
        # From fast to slow decay over the channels of all heads, as in the RWKV line.
        with torch.no_grad():
            to_decay.bias.copy_(torch.linspace(0.5, -5.5, inner))

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Maps (B, T, D) to (B, T, D); output t sees inputs 0..t of its document."""
        before_BTD = F.pad(x_BTD, (0, 0, 1, 0))[:, : x_BTD.shape[1]]
        if documents_BT is not None:
            same_BT = documents_BT == documents_BT.roll(1, dims=1)
            before_BTD = before_BTD.masked_fill(~same_BT[..., None], 0)
        r, k, v, erase, write, log_decay, gate = self._inputs(x_BTD, before_BTD)
        o = ops.generalized_delta_rule(r, k, v, erase, write, log_decay, documents_BT)
        return self._read(o, r, k, v, gate)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """Returns the state before the first token."""
        zeros = self.project_out.weight.new_zeros
        return {
            "before": zeros(batch, self.project_r.in_features),
            "memory": ops.zero_state(
                self.project_out.weight, batch, self.heads, self.head_dim, self.head_dim
            ),
        }

    def step(self, x_BD: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Maps one token (B, D) and the state to the output (B, D) and the next state."""
        r, k, v, erase, write, log_decay, gate = self._inputs(x_BD, state["before"])
        o, memory = ops.generalized_delta_rule_step(
            r, k, v, erase, write, log_decay, state["memory"]
        )
        return self._read(o, r, k, v, gate), {"before": x_BD, "memory": memory}

    def _inputs(self, x: Tensor, before: Tensor) -> tuple[Tensor, ...]:
        """r, k, v, erase, write and log decay, (..., H, K), and the gate (..., H K)."""
        x_r, x_w, x_k, x_v, x_a, x_g = (x + share * (before - x) for share in self.shift.unbind())
        r, k, v, w, a = (
            y.unflatten(-1, (self.heads, -1))
            for y in (
                self.project_r(x_r),
                self.project_k(x_k),
                self.project_v(x_v),
                self.project_decay(x_w),
                self.project_rate(x_a).sigmoid(),
            )
        )
        direction = F.normalize(k * self.erased, dim=-1)
        k = k * (1 + (a - 1) * self.slowed)
        log_decay = -0.606531 * w.sigmoid()  # e^-0.5: the decay stays above 0.545
        return r, k, v, -direction, direction * a, log_decay, self.project_gate(x_g)

    def _read(self, o: Tensor, r: Tensor, k: Tensor, v: Tensor, gate: Tensor) -> Tensor:
        flat = o.flatten(-2)
        normed = self.norm(flat.flatten(0, -2)).view_as(flat)
        own = (r * self.bonus * k).sum(dim=-1, keepdim=True) * v
        return self.project_out((normed + own.flatten(-2)) * gate)
