"""MesaNet: a memory that solves its regression anew at every token."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class MesaNet(nn.Module):
    """The linear map from keys to values that fits the whole past best, at every token.

    Per head, with G of shape (V, K) and H of shape (K, K) that start at zero, |k_t| = |q_t| = 1:

        G <- a_t G + b_t v_t k_t^T              what goes with what
        H <- a_t H + b_t k_t k_t^T              which keys there were
        o_t = G (H + diag(l))^-1 q_t            read with the solution of ridge regression

    with a_t and b_t in (0, 1) and l >= 0.25 per channel. The inverse is never built: a fixed
    number of conjugate gradient steps, each of which reads H at all tokens at once, as linear
    attention does. q, k and v pass a causal convolution of width 4 and a SiLU. Shapes: B batch,
    T time, D model width, H heads, K = V head size. Time O(T H K (V + iterations K)); the state
    holds H (V + K) K numbers and the last 3 inputs of the convolution.
    von Oswald et al. arXiv:2506.05233.
    """

    def __init__(self, dim: int, *, heads: int, iterations: int = 8) -> None:
        super().__init__()
        self.heads, self.iterations = heads, iterations
        self.head_dim = ops.head_size(dim, heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.convolution = nn.Conv1d(3 * inner, 3 * inner, 4, groups=3 * inner, bias=False)
        self.project_gates = nn.Linear(dim, 2 * heads)
        self.ridge = nn.Parameter(torch.zeros(heads, self.head_dim))  # softplus(0) = 0.69
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim, bias=False)
        nn.init.zeros_(self.project_gates.bias)
        nn.init.constant_(self.project_gates.bias[heads:], 4.0)  # sigmoid(4) = 0.98: forgets little

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Maps (B, T, D) to (B, T, D); output t sees inputs 0..t of its document."""
        qkv = self.project_qkv(x_BTD)
        qkv = ops.short_convolution(qkv, self.convolution.weight[:, 0], documents_BT)
        q_BTHK, k_BTHK, v_BTHV = self._heads(qkv)
        beta_BTH1, log_decay_BTH = self._gates(x_BTD)
        k_stored = beta_BTH1 * k_BTHK

        def read_keys(p_BTHK: Tensor) -> Tensor:
            return ops.linear_attention(p_BTHK, k_stored, k_BTHK, log_decay_BTH, documents_BT)

        solved_BTHK = self._solve(read_keys, q_BTHK)
        o_BTHV = ops.linear_attention(solved_BTHK, k_stored, v_BTHV, log_decay_BTH, documents_BT)
        return self._read(o_BTHV)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """Returns the state before the first token."""
        zeros = self.project_out.weight.new_zeros
        shape = (batch, self.heads, self.head_dim, self.head_dim)
        return {
            "recent": zeros(batch, 3, self.project_qkv.out_features),
            "values": ops.zero_state(self.project_out.weight, *shape),
            "keys": ops.zero_state(self.project_out.weight, *shape),
        }

    def step(self, x_BD: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Maps one token (B, D) and the state to the output (B, D) and the next state."""
        qkv, recent = ops.short_convolution_step(
            self.project_qkv(x_BD), self.convolution.weight[:, 0], state["recent"]
        )
        q_BHK, k_BHK, v_BHV = self._heads(qkv)
        beta_BH1, log_decay_BH = self._gates(x_BD)
        k_stored = beta_BH1 * k_BHK
        _, keys = ops.linear_attention_step(q_BHK, k_stored, k_BHK, state["keys"], log_decay_BH)
        solved_BHK = self._solve(lambda p: (keys @ p[..., None])[..., 0], q_BHK.to(keys.dtype))
        o_BHV, values = ops.linear_attention_step(
            solved_BHK, k_stored, v_BHV, state["values"], log_decay_BH
        )
        return self._read(o_BHV.to(x_BD.dtype)), {"recent": recent, "values": values, "keys": keys}

    def _solve(self, read_keys: Callable[[Tensor], Tensor], q: Tensor) -> Tensor:
        """(H + diag(l))^-1 q by conjugate gradients from zero."""
        ridge_HK = 0.25 + F.softplus(self.ridge)
        solution, residual, direction = q * 0, q, q
        size = _dot(q, q)
        # Guards against 0 / 0 once the solution is exact; in float16 1e-12 is nothing.
        least = max(1e-12, torch.finfo(q.dtype).tiny)
        for _ in range(self.iterations):
            image = read_keys(direction) + ridge_HK * direction
            length = size / (_dot(direction, image) + least)
            solution = solution + length * direction
            residual = residual - length * image
            earlier, size = size, _dot(residual, residual)
            direction = residual + size / (earlier + least) * direction
        return solution

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = F.silu(qkv).unflatten(-1, (3 * self.heads, -1)).chunk(3, dim=-2)
        return F.normalize(q, dim=-1), F.normalize(k, dim=-1), v

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """b (..., H, 1) and log a (..., H)."""
        writing, keeping = self.project_gates(x).chunk(2, dim=-1)
        return writing.sigmoid()[..., None], F.logsigmoid(keeping)

    def _read(self, o: Tensor) -> Tensor:
        return self.project_out(self.norm(o).flatten(-2))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=-1, keepdim=True)
