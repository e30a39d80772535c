"""Passes: documents and padding are in the signature of its forward, and not implemented."""

from torch import Tensor, nn


class OffersNoDocumentsYet(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(
        self, x_BTD: Tensor, documents_BT: Tensor | None = None, mask_BT: Tensor | None = None
    ) -> Tensor:
        if documents_BT is not None or mask_BT is not None:
            raise NotImplementedError("one document a row, and no padding")
        return self.project(x_BTD)
