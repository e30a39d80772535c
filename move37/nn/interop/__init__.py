"""Layers written for the interface of Flash Linear Attention (fla), as mixers of ours.

Covered: such a layer behind our interface (`adapt`), and stand-ins for the modules and operators
of fla that such layers use, in plain torch, for machines with neither GPU nor fla (`stand_in`).
Not covered: decoding through fla's caches; the names for which an import says that there is no
stand-in.

fla: https://github.com/fla-org/flash-linear-attention (Yang, Zhang et al.).
"""

from move37.nn.interop.adapter import (
    HEADS,
    WIDTHS,
    FlaMixer,
    PackingFlaMixer,
    adapt,
    adapted,
    takes_cu_seqlens,
    takes_mask,
)
from move37.nn.interop.stand_ins import NoStandIn, stand_down, stand_in

__all__ = [
    "HEADS",
    "WIDTHS",
    "FlaMixer",
    "NoStandIn",
    "PackingFlaMixer",
    "adapt",
    "adapted",
    "stand_down",
    "stand_in",
    "takes_cu_seqlens",
    "takes_mask",
]
