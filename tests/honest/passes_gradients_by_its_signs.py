"""Passes: an autograd function of its own: values of -1 and 1 with the gradient of a hard tanh."""

from typing import Any

from torch import Tensor, autograd, nn

from move37.nn import ops


class _Sign(autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype) * 2 - 1

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        return gradients[0] * (x.abs() <= 1)


class PassesGradientsByItsSigns(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(1, dim // heads)
        inner = heads * self.head_dim
        self.project_qkv = nn.Linear(dim, 3 * inner)
        self.norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.project_out = nn.Linear(inner, dim)

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        qkv = self.project_qkv(x_BTD).unflatten(-1, (3 * self.heads, -1))
        q, k, v = qkv.chunk(3, dim=-2)
        q, k = (_Sign.apply(x) for x in (q, k))  # type: ignore[no-untyped-call]
        o = self.norm(ops.linear_attention(q, k, v, None, documents_BT))
        y_BTD: Tensor = self.project_out(o.flatten(-2))
        return y_BTD
