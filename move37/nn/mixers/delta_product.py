"""DeltaProduct: several corrections per token, hence richer state matrices."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class DeltaProduct(nn.Module):
    """DeltaNet that takes n steps of the delta rule for each token.

    Per head, with a state S of shape (V, K) that starts at zero and |k_ti| = |q_t| = 1:

        S <- S + b_ti (v_ti - S k_ti) k_ti^T    for i = 1..n: store with key i
        o_t = S q_t                             read

    with b_ti in (0, 2): the state matrix of a token is a product of n generalised Householder
    reflections, which for n = 2 turns a plane and with more permutes more. q, k and v pass a
    causal convolution of width 4 and a SiLU. Shapes: B batch, T time, D model width, H heads,
    K = V head size. Time O(T n H K V); the state holds H V K numbers and the last 3 inputs of the
    convolution. Siems et al. arXiv:2502.10297.
    """

    def __init__(self, dim: int, *, heads: int, steps: int = 2) -> None:
        super().__init__()
        self.heads, self.steps = heads, steps
        self.head_dim = ops.head_size(dim, heads)
        inner = heads * self.head_dim
        mixed = (1 + 2 * steps) * inner
        self.project_qkv = nn.Linear(dim, mixed, bias=False)
        self.convolution = nn.Conv1d(mixed, mixed, 4, groups=mixed, bias=False)
        self.project_beta = nn.Linear(dim, steps * heads, bias=False)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim, bias=False)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Maps (B, T, D) to (B, T, D); output t sees inputs 0..t of its document."""
        n = self.steps
        qkv = self.project_qkv(x_BTD)
        qkv = ops.short_convolution(qkv, self.convolution.weight[:, 0], documents_BT)
        q_BTHK, k_BTnHK, v_BTnHV = self._heads(qkv)
        # The steps of a token follow each other in time; only the last one is read.
        q_BLHK = torch.stack([torch.zeros_like(q_BTHK)] * (n - 1) + [q_BTHK], dim=2).flatten(1, 2)
        documents_BL = None if documents_BT is None else documents_BT.repeat_interleave(n, dim=1)
        o_BLHV = ops.delta_rule(
            q_BLHK,
            k_BTnHK.flatten(1, 2),
            v_BTnHV.flatten(1, 2),
            self._beta(x_BTD).flatten(1, 2),
            documents_BT=documents_BL,
        )
        return self._read(o_BLHV[:, n - 1 :: n])

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
        q_BHK, k_BnHK, v_BnHV = self._heads(qkv)
        memory, o_BHV = state["memory"], q_BHK
        steps = (x.unbind(dim=1) for x in (k_BnHK, v_BnHV, self._beta(x_BD)))
        for k_BHK, v_BHV, beta_BH in zip(*steps, strict=True):
            o_BHV, memory = ops.delta_rule_step(q_BHK, k_BHK, v_BHV, beta_BH, memory)
        return self._read(o_BHV), {"recent": recent, "memory": memory}

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q (..., H, K), and of each step k and v (..., n, H, K)."""
        q, k, v = (
            F.silu(qkv)
            .unflatten(-1, (1 + 2 * self.steps, self.heads, -1))
            .split([1, self.steps, self.steps], dim=-3)
        )
        return F.normalize(q[..., 0, :, :], dim=-1), F.normalize(k, dim=-1), v

    def _beta(self, x: Tensor) -> Tensor:
        return 2 * self.project_beta(x).sigmoid().unflatten(-1, (self.steps, self.heads))

    def _read(self, o: Tensor) -> Tensor:
        return self.project_out(self.norm(o).flatten(-2))
