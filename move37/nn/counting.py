"""Counts the work of a computation by watching every operator, never by the clock.

Covered: each operator that PyTorch dispatches, forward and (on CPU) backward; custom autograd
functions by what they call. An operator that is not known here is named, not guessed.
Not covered: work done outside of PyTorch's operators.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

# No data is touched.
_VIEWS = frozenset(
    "transpose_ t_ squeeze_ unsqueeze_ unsafe_split unsafe_split_with_sizes unsafe_chunk "
    "view _unsafe_view reshape _reshape_alias expand permute transpose t unsqueeze squeeze slice "
    "select split split_with_sizes detach alias as_strided unbind diagonal unfold lift_fresh "
    "movedim narrow view_as_real view_as_complex real imag _conj conj _neg_view flatten "
    "empty empty_like empty_strided new_empty new_empty_strided _local_scalar_dense item "
    "promote_types result_type is_nonzero resize_ set_ sym_size sym_stride sym_numel is_same_size "
    "_has_compatible_shallow_copy_type".split()
)
# One visit of every input and output element.
_LINEAR = frozenset(
    "sum mean prod amax amin max min aminmax argmax argmin any all var var_mean std std_mean norm "
    "logsumexp linalg_vector_norm cumsum cumprod cummax cummin logcumsumexp _cummax_helper "
    "_cummin_helper cat stack constant_pad_nd roll flip repeat repeat_interleave tile tril triu "
    "clone copy_ _to_copy contiguous fill_ fill zero_ zeros ones full arange linspace eye "
    "scalar_tensor zeros_like ones_like full_like new_zeros new_ones new_full rand randn randint "
    "rand_like randn_like bernoulli_ bernoulli uniform_ normal_ random_ exponential_ randperm "
    "tril_indices triu_indices index index_put index_put_ _unsafe_index _unsafe_index_put "
    "index_select gather scatter scatter_ scatter_add scatter_add_ scatter_reduce index_add "
    "index_add_ index_copy index_copy_ index_fill masked_fill masked_select masked_scatter nonzero "
    "where embedding embedding_dense_backward one_hot _softmax _log_softmax "
    "_softmax_backward_data _log_softmax_backward_data native_layer_norm "
    "native_layer_norm_backward native_group_norm native_group_norm_backward _fused_rms_norm "
    "_fused_rms_norm_backward native_batch_norm _native_batch_norm_legit "
    "native_batch_norm_backward native_dropout native_dropout_backward slice_backward "
    "select_backward slice_scatter select_scatter diagonal_backward unfold_backward "
    "nll_loss_forward nll_loss_backward mse_loss diag_embed diag "
    "equal count_nonzero bucketize im2col col2im "
    "renorm dist cumsum_ cumprod_ complex polar trace trapezoid "
    "_weight_norm_interface _weight_norm_interface_backward replication_pad1d "
    "replication_pad1d_backward reflection_pad1d reflection_pad1d_backward "
    "elu_backward log_sigmoid_forward log_sigmoid_backward softplus_backward silu_backward "
    "gelu_backward sigmoid_backward tanh_backward threshold_backward leaky_relu_backward "
    "hardtanh_backward hardswish_backward hardsigmoid_backward mish_backward glu glu_backward "
    "logit_backward softshrink_backward hardshrink_backward rrelu_with_noise_backward "
    "_prelu_kernel _prelu_kernel_backward huber_loss smooth_l1_loss rrelu_with_noise hardswish "
    "_safe_softmax upsample_nearest1d upsample_nearest1d_backward upsample_linear1d "
    "upsample_linear1d_backward _adaptive_avg_pool2d _adaptive_avg_pool2d_backward "
    "adaptive_max_pool2d adaptive_max_pool2d_backward grid_sampler_2d grid_sampler_2d_backward "
    "pixel_shuffle pixel_unshuffle channel_shuffle take put index_reduce bincount histc "
    "multinomial nansum floor_divide linalg_cross rot90 block_diag logspace hann_window allclose "
    "_linalg_check_errors _has_same_storage_numel "
    "fake_quantize_per_tensor_affine_cachemask fake_quantize_per_channel_affine_cachemask".split()
)
# n log n in the length of the dimension that is worked on.
_LOGARITHMIC = frozenset(
    "sort topk kthvalue median argsort _fft_r2c _fft_c2r _fft_c2c searchsorted unique _unique2 "
    "unique_dim nanmedian mode isin unique_consecutive".split()
)
# Each output visits a window, whose size is the second argument; its gradient the same.
_POOLS = frozenset("avg_pool1d avg_pool2d max_pool2d_with_indices".split())
_POOLS_BACKWARD = frozenset("avg_pool2d_backward max_pool2d_with_indices_backward".split())


class Work(TorchDispatchMode):
    """Counts, while it is active, floating-point operations and visited elements by operator.

    `flops` holds matrix products and the like (one multiply-add counts two), `elements` all the
    rest; `calls` how often each operator ran; `unknown` those whose cost is not known. `allocated`
    holds the bytes of new memory that each operator asked for, `saved` those that `save` was told
    of, each piece of memory once.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: Counter[str] = Counter()
        self.elements: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.unknown: set[str] = set()
        self.allocated: Counter[str] = Counter()
        self.saved: Counter[str] = Counter()
        self._saved: set[int] = set()

    def save(self, tensor: Tensor) -> None:
        """Counts a tensor that is kept for the backward pass."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._saved:
            self._saved.add(storage._cdata)
            self.saved["saved for the backward pass"] += storage.nbytes()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = _tensors(args, kwargs)
        # Before the call: one in place may make its own memory larger.
        given = {_memory(x) for x in inputs}
        result = func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        self.calls[name] += 1
        outputs = _tensors(result)
        tensors = inputs + outputs
        largest = max((x.numel() for x in tensors), default=0)
        made = {_memory(x): x for x in outputs}
        self.allocated[name] += sum(
            x.untyped_storage().nbytes() for place, x in made.items() if place not in given
        )
        # A product of complex numbers is four of real ones.
        products = 4 if any(x.is_complex() for x in tensors) else 1
        if func._overloadpacket in flop_registry:
            formula = flop_registry[func._overloadpacket]
            self.flops[name] += products * int(formula(*args, **kwargs, out_val=result))
        elif name in _FLOPS:
            self.flops[name] += products * _FLOPS[name](*args)
        elif name in _POOLS:
            self.elements[name] += outputs[0].numel() * math.prod(args[1])
        elif name in _POOLS_BACKWARD:
            self.elements[name] += args[0].numel() * math.prod(args[2])
        elif name in _VIEWS:
            pass
        elif name in _LOGARITHMIC:
            self.elements[name] += largest * max(1, math.ceil(math.log2(max(2, largest))))
        elif _is_linear(func, name):
            self.elements[name] += largest
        else:
            self.unknown.add(name)
        return result

    @property
    def total(self) -> int:
        """Floating-point operations, an element visited counted as one."""
        return self.flops.total() + self.elements.total()


def is_known(operator: Any) -> bool:
    """Says whether it is known what an operator (`torch.ops.aten...`) costs."""
    name = operator._schema.name.removeprefix("aten::")
    return (
        operator._overloadpacket in flop_registry
        or any(name in kind for kind in (_FLOPS, _POOLS, _POOLS_BACKWARD, _VIEWS, _LOGARITHMIC))
        or _is_linear(operator, name)
    )


def _is_linear(operator: Any, name: str) -> bool:
    return name.rstrip("_") in _LINEAR or name in _LINEAR or torch.Tag.pointwise in operator.tags


def _tensors(*values: Any) -> list[Tensor]:
    """Returns the tensors in an operator's arguments or results: at most in lists and tuples."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(*value)
        elif isinstance(value, dict):
            found += _tensors(*value.values())
    return found


def _memory(x: Tensor) -> tuple[int, int]:
    """Returns which memory a tensor lies in, and how large it is: one in place may enlarge it."""
    storage = x.untyped_storage()
    return storage._cdata, storage.nbytes()  # the address of the storage, also without data


def _solve(matrix: Tensor, right: Tensor, *_: Any) -> int:
    """n^2 multiply-adds, halved by the triangle, for each column of the right side."""
    return right.numel() * matrix.shape[-1]


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> int:
    """Both products of attention, over all pairs: a causal mask saves half of it at best."""
    pairs = query.shape[:-1].numel() * key.shape[-2]
    return 2 * pairs * (query.shape[-1] + value.shape[-1])


def _attention_backward(_: Tensor, query: Tensor, key: Tensor, value: Tensor, *__: Any) -> int:
    return 5 * _attention(query, key, value) // 2


def _product(_: Tensor, a: Tensor, b: Tensor, *__: Any) -> int:
    """One multiply-add per element of `a` and column of `b`."""
    return 2 * a.numel() * b.shape[-1]


_FLOPS: dict[str, Any] = {
    "baddbmm_": _product,
    "addmm_": _product,
    "addbmm": _product,
    "addbmm_": _product,
    "linalg_solve_triangular": _solve,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
    "_scaled_dot_product_attention_math_for_mps": _attention,
    "_euclidean_dist": lambda a, b: 2 * a.numel() * b.shape[-2],
    "_cdist_forward": lambda a, b, *_: 2 * a.numel() * b.shape[-2],
    "_cdist_backward": lambda _, a, b, *__: 4 * a.numel() * b.shape[-2],
    # Of the order of n^3 for each matrix.
    "_linalg_solve_ex": lambda a, b, *_: 2 * (a.numel() + b.numel()) * a.shape[-1],
    "linalg_lu_factor_ex": lambda a, *_: a.numel() * a.shape[-1],
    "linalg_lu_solve": lambda a, _, b, *__: 2 * b.numel() * a.shape[-1],
    "linalg_cholesky_ex": lambda a, *_: a.numel() * a.shape[-1],
    "linalg_matrix_exp": lambda a, *_: 20 * a.numel() * a.shape[-1],
    "linalg_inv_ex": lambda a, *_: 2 * a.numel() * a.shape[-1],
    # A layer of an LSTM: each token by both matrices.
    "mkldnn_rnn_layer": lambda x, w, u, *_: 2 * x.shape[:-1].numel() * (w.numel() + u.numel()),
    "mkldnn_rnn_layer_backward": lambda x, w, u, *_: (
        4 * x.shape[:-1].numel() * (w.numel() + u.numel())
    ),
    "vdot": lambda a, *_: 2 * a.numel(),
    "addmv": lambda _, a, *__: 2 * a.numel(),
    "addr": lambda _, a, b, *__: 2 * a.numel() * b.numel(),
    "dot": lambda a, *_: 2 * a.numel(),
    "mv": lambda a, *_: 2 * a.numel(),
}


def flops_per_token(model: nn.Module, tokens_BT: Tensor) -> float:
    """Returns the forward work of a language model per token, in floating-point operations."""
    return work_of(model, tokens_BT) / tokens_BT.numel()


def work_of(module: nn.Module, given: Tensor) -> int:
    """Returns the work of one forward pass, in floating-point operations."""
    with torch.no_grad(), Work() as work:
        module(given)
    return work.total


def state_bytes(mixer: nn.Module, *, width: int, tokens: int) -> int | None:
    """Returns the bytes that decoding one sequence holds after `tokens` tokens; None: not offered.

    The state is whatever `step` returns, as nested containers of tensors.
    """
    if not (hasattr(mixer, "initial_state") and hasattr(mixer, "step")):
        return None
    return state_sizes(mixer, width=width, tokens=(tokens,))[0]


def state_sizes(mixer: nn.Module, *, width: int, tokens: Sequence[int]) -> list[int]:
    """Returns the bytes that decoding one sequence holds after each of some numbers of tokens."""
    like = next(mixer.parameters())
    decoder: Any = mixer
    state = decoder.initial_state(1)
    sizes = {0: bytes_of(state)}
    with torch.no_grad():
        for done in range(1, max(tokens) + 1):
            _, state = decoder.step(like.new_zeros(1, width), state)
            sizes[done] = bytes_of(state)
    return [sizes[count] for count in tokens]


def bytes_of(state: Any) -> int:
    """Returns the bytes of a state: tensors and numbers in nested containers.

    A Python number counts 8 bytes. A tensor without elements counts 8 for each of its dimensions:
    their sizes are numbers too.
    """
    return sum(map(_bytes_of_leaf, tree_leaves(state)))


def _bytes_of_leaf(leaf: Any) -> int:
    if isinstance(leaf, Tensor):
        return leaf.numel() * leaf.element_size() or 8 * leaf.ndim
    return 8 if isinstance(leaf, bool | int | float | complex) else 0
