"""The published mixers, one idea per file; `MIXERS` is the registry.

`move37 mixers` lists them, `move37 mixers NAME` shows the source of one.
"""

from torch import nn

from move37.nn.mixers.delta_net import DeltaNet
from move37.nn.mixers.delta_product import DeltaProduct
from move37.nn.mixers.gated_delta_net import GatedDeltaNet
from move37.nn.mixers.gated_linear_attention import GatedLinearAttention
from move37.nn.mixers.hgrn2 import HGRN2
from move37.nn.mixers.hymba import Hymba
from move37.nn.mixers.kimi_delta_attention import KimiDeltaAttention
from move37.nn.mixers.linear_attention import LinearAttention
from move37.nn.mixers.longhorn import Longhorn
from move37.nn.mixers.mamba2 import Mamba2
from move37.nn.mixers.mesa_net import MesaNet
from move37.nn.mixers.negative_delta_net import NegativeDeltaNet
from move37.nn.mixers.ret_net import RetNet
from move37.nn.mixers.rwkv7 import RWKV7
from move37.nn.mixers.sliding_window_attention import SlidingWindowAttention
from move37.nn.mixers.softmax_attention import SoftmaxAttention
from move37.nn.mixers.titans import Titans

# From attention over linear memories to those that correct themselves, and what mixes them.
MIXERS: tuple[type[nn.Module], ...] = (
    SoftmaxAttention,
    SlidingWindowAttention,
    LinearAttention,
    RetNet,
    GatedLinearAttention,
    HGRN2,
    Mamba2,
    Longhorn,
    DeltaNet,
    NegativeDeltaNet,
    GatedDeltaNet,
    DeltaProduct,
    KimiDeltaAttention,
    RWKV7,
    Titans,
    MesaNet,
    Hymba,
)
