"""Softmax attention: the quadratic yardstick."""

from torch import Tensor, nn

from move37.nn import ops


class SoftmaxAttention(nn.Module):
    """Attention over the whole past, with rotary positions.

        o_t = sum over s <= t of softmax_s(q_t . k_s / sqrt(K)) v_s

    q, k and v pass a causal convolution of width 4, as in Primer (So et al. arXiv:2109.08668):
    without it, two layers do not learn to recall within a laptop's budget. Shapes: B batch,
    T time, D model width, H heads, K head size. Time O(T^2 H K); the state grows by 2 H K
    numbers per token. Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = ops.head_size(dim, heads, multiple=2)  # for the rotation
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.convolution = nn.Conv1d(3 * inner, 3 * inner, 4, groups=3 * inner, bias=False)
        self.project_out = nn.Linear(inner, dim, bias=False)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        """Maps (B, T, D) to (B, T, D); output t sees inputs 0..t of its document."""
        qkv = self.project_qkv(x_BTD)
        qkv = ops.short_convolution(qkv, self.convolution.weight[:, 0], documents_BT)
        q_BTHK, k_BTHK, v_BTHK = qkv.unflatten(-1, (3 * self.heads, -1)).chunk(3, dim=-2)
        q_BTHK, k_BTHK = ops.rotate(q_BTHK), ops.rotate(k_BTHK)
        o_BTHK = ops.softmax_attention(q_BTHK, k_BTHK, v_BTHK, documents_BT)
        return self.project_out(o_BTHK.flatten(-2))

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """Returns the state before the first token: no keys and no values."""
        zeros = self.project_out.weight.new_zeros
        empty = zeros(batch, 0, self.heads, self.head_dim)
        recent = zeros(batch, 3, self.project_qkv.out_features)
        return {"recent": recent, "keys": empty, "values": empty}

    def step(self, x_BD: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Maps one token (B, D) and the state to the output (B, D) and the next state."""
        qkv, recent = ops.short_convolution_step(
            self.project_qkv(x_BD), self.convolution.weight[:, 0], state["recent"]
        )
        q_BHK, k_BHK, v_BHK = qkv.unflatten(-1, (3 * self.heads, -1)).chunk(3, dim=-2)
        place = state["keys"].shape[1]
        q_BHK, k_BHK = (ops.rotate(z[:, None], first=place)[:, 0] for z in (q_BHK, k_BHK))
        o_BHK, keys, values = ops.softmax_attention_step(
            q_BHK, k_BHK, v_BHK, state["keys"], state["values"]
        )
        state = {"recent": recent, "keys": keys, "values": values}
        return self.project_out(o_BHK.flatten(-2)), state
