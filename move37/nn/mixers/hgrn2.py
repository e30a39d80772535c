"""HGRN2: what is forgotten makes room for what is stored."""

import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class HGRN2(nn.Module):
    """A gated linear recurrence whose key is the complement of its forget gate.

    Per head, with a state S of shape (V, K) that starts at zero:

        S <- S diag(f_t) + v_t (1 - f_t)^T      forget per channel, store as much
        o_t = S q_t                             read

    with a forget gate f_t in (0, 1)^K; the paper's lower bound of the gates, which grows with the
    depth of the layer, is 0 here: a mixer does not know its layer. q, f and v pass a causal
    convolution of width 4, as in all mixers here, q a SiLU. Shapes: B batch, T time, D model width,
    H heads, K = V head size. Time O(T H K V); the state holds H V K numbers and the last 3 inputs
    of the convolution. Qin et al. arXiv:2404.07904.
    """

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = ops.head_size(dim, heads)
        inner = heads * self.head_dim
        self.project_qfv = nn.Linear(dim, 3 * inner, bias=False)
        self.convolution = nn.Conv1d(3 * inner, 3 * inner, 4, groups=3 * inner, bias=False)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim, bias=False)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Maps (B, T, D) to (B, T, D); output t sees inputs 0..t of its document."""
        qfv = self.project_qfv(x_BTD)
        qfv = ops.short_convolution(qfv, self.convolution.weight[:, 0], documents_BT)
        q_BTHK, k_BTHK, v_BTHV, log_forget_BTHK = self._heads(qfv)
        o_BTHV = ops.linear_attention(q_BTHK, k_BTHK, v_BTHV, log_forget_BTHK, documents_BT)
        return self._read(o_BTHV)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """Returns the state before the first token."""
        zeros = self.project_out.weight.new_zeros
        return {
            "recent": zeros(batch, 3, self.project_qfv.out_features),
            "memory": ops.zero_state(
                self.project_out.weight, batch, self.heads, self.head_dim, self.head_dim
            ),
        }

    def step(self, x_BD: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Maps one token (B, D) and the state to the output (B, D) and the next state."""
        qfv, recent = ops.short_convolution_step(
            self.project_qfv(x_BD), self.convolution.weight[:, 0], state["recent"]
        )
        q_BHK, k_BHK, v_BHV, log_forget_BHK = self._heads(qfv)
        o_BHV, memory = ops.linear_attention_step(
            q_BHK, k_BHK, v_BHV, state["memory"], log_forget_BHK
        )
        return self._read(o_BHV), {"recent": recent, "memory": memory}

    def _heads(self, qfv: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """q, k = 1 - f, v and log f, each (..., H, K)."""
        q, f, v = qfv.unflatten(-1, (3 * self.heads, -1)).chunk(3, dim=-2)
        # 1 - sigmoid(f) = sigmoid(-f), which keeps its digits where f is near 1.
        return F.silu(q), (-f).sigmoid(), v, F.logsigmoid(f)

    def _read(self, o: Tensor) -> Tensor:
        return self.project_out(self.norm(o).flatten(-2))
