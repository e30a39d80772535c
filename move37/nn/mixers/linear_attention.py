"""Linear attention: a sum of outer products, read with positive features."""

import torch.nn.functional as F
from torch import Tensor, nn

from move37.nn import ops


class LinearAttention(nn.Module):
    """Attention whose softmax is replaced by a product of positive features.

    Per head, with a state S of shape (V, K) and a sum z of shape (K), both zero at the start:

        S <- S + v_t f(k_t)^T,   z <- z + f(k_t)        store
        o_t = S f(q_t) / (z . f(q_t))                   read, as a weighted mean

    with f(x) = elu(x) + 1; q, k and v pass a causal convolution of width 4, which today's linear
    mixers share. Shapes: B batch, T time, D model width, H heads, K = V head size.
    Time O(T H K V); the state holds H (V + 1) K numbers and the last 3 inputs of the
    convolution. Katharopoulos et al. arXiv:2006.16236.
    """

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = ops.head_size(dim, heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.convolution = nn.Conv1d(3 * inner, 3 * inner, 4, groups=3 * inner, bias=False)
        self.project_out = nn.Linear(inner, dim, bias=False)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Maps (B, T, D) to (B, T, D); output t sees inputs 0..t of its document."""
        qkv = self.project_qkv(x_BTD)
        qkv = ops.short_convolution(qkv, self.convolution.weight[:, 0], documents_BT)
        q_BTHK, k_BTHK, v_BTHV = self._heads(qkv)
        o_BTHV = ops.linear_attention(q_BTHK, k_BTHK, v_BTHV, documents_BT=documents_BT)
        return self._read(o_BTHV)

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """Returns the state before the first token."""
        zeros = self.project_out.weight.new_zeros
        return {
            "recent": zeros(batch, 3, self.project_qkv.out_features),
            "memory": ops.zero_state(
                self.project_out.weight, batch, self.heads, self.head_dim + 1, self.head_dim
            ),
        }

    def step(self, x_BD: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Maps one token (B, D) and the state to the output (B, D) and the next state."""
        qkv, recent = ops.short_convolution_step(
            self.project_qkv(x_BD), self.convolution.weight[:, 0], state["recent"]
        )
        q_BHK, k_BHK, v_BHV = self._heads(qkv)
        o_BHV, memory = ops.linear_attention_step(q_BHK, k_BHK, v_BHV, state["memory"])
        return self._read(o_BHV), {"recent": recent, "memory": memory}

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = qkv.unflatten(-1, (3 * self.heads, -1)).chunk(3, dim=-2)
        # A value that is always one makes the memory carry z beside S. What is read of them is
        # divided by each other: q is scaled, so that float16 holds both.
        return (F.elu(q) + 1) / self.head_dim, F.elu(k) + 1, F.pad(v, (0, 1), value=1.0)

    def _read(self, o: Tensor) -> Tensor:
        mean = o[..., :-1] / (o[..., -1:] + 1e-6)
        return self.project_out(mean.flatten(-2))
