"""DeltaNet: a linear memory that corrects what it already recalls."""

import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class DeltaNet(nn.Module):
    """Linear attention whose memory is updated by the delta rule.

    Per head, with a state S of shape (V, K) that starts at zero and |k_t| = |q_t| = 1:

        S <- S + b_t (v_t - S k_t) k_t^T        store what S does not yet recall for k_t
        o_t = S q_t                             read

    with b_t in (0, 1); q, k and v pass a causal convolution of width 4 and a SiLU. Shapes:
    B batch, T time, D model width, H heads, K = V head size. Time O(T H K V); the state holds
    H V K numbers and the last 3 inputs of the convolution. Yang et al. arXiv:2406.06484.
    """

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = ops.head_size(dim, heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.convolution = nn.Conv1d(3 * inner, 3 * inner, 4, groups=3 * inner, bias=False)
        self.project_beta = nn.Linear(dim, heads, bias=False)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim, bias=False)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Maps (B, T, D) to (B, T, D); output t sees inputs 0..t of its document."""
        qkv = self.project_qkv(x_BTD)
        qkv = ops.short_convolution(qkv, self.convolution.weight[:, 0], documents_BT)
        q_BTHK, k_BTHK, v_BTHV = self._heads(qkv)
        beta_BTH = self.project_beta(x_BTD).sigmoid()
        o_BTHV = ops.delta_rule(q_BTHK, k_BTHK, v_BTHV, beta_BTH, documents_BT=documents_BT)
        return self._read(o_BTHV)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """Returns the state before the first token."""
        zeros = self.project_out.weight.new_zeros
        return {
            "recent": zeros(batch, 3, self.project_qkv.out_features),
            "memory": ops.zero_state(
                self.project_out.weight, batch, self.heads, self.head_dim, self.head_dim
            ),
        }

    def step(self, x_BD: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Maps one token (B, D) and the state to the output (B, D) and the next state."""
        qkv, recent = ops.short_convolution_step(
            self.project_qkv(x_BD), self.convolution.weight[:, 0], state["recent"]
        )
        q_BHK, k_BHK, v_BHV = self._heads(qkv)
        beta_BH = self.project_beta(x_BD).sigmoid()
        o_BHV, memory = ops.delta_rule_step(q_BHK, k_BHK, v_BHV, beta_BH, state["memory"])
        return self._read(o_BHV), {"recent": recent, "memory": memory}

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = F.silu(qkv).unflatten(-1, (3 * self.heads, -1)).chunk(3, dim=-2)
        return F.normalize(q, dim=-1), F.normalize(k, dim=-1), v

    def _read(self, o: Tensor) -> Tensor:
        return self.project_out(self.norm(o).flatten(-2))
