"""Counts the work of a computation by watching every operator, never by the clock.

Covered: each operator that PyTorch dispatches, forward and (on CPU) backward; custom autograd
functions by what they call. An operator that is not known here is named, not guessed.
Not covered: work done outside of PyTorch's operators.
"""

import functools
import math
from collections import Counter
from collections.abc import Callable, Sequence
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
    "tril_indices triu_indices index _unsafe_index "
    "index_select gather scatter scatter_ scatter_add scatter_add_ scatter_reduce index_add "
    "index_add_ index_copy index_copy_ masked_fill masked_scatter nonzero "
    "where embedding embedding_dense_backward one_hot _softmax _log_softmax "
    "_softmax_backward_data _log_softmax_backward_data native_layer_norm "
    "native_layer_norm_backward native_group_norm native_group_norm_backward _fused_rms_norm "
    "_fused_rms_norm_backward native_batch_norm _native_batch_norm_legit "
    "native_batch_norm_backward native_dropout native_dropout_backward slice_backward "
    "select_backward slice_scatter select_scatter diagonal_backward unfold_backward "
    "nll_loss_forward nll_loss_backward diag_embed diag "
    "equal count_nonzero im2col col2im "
    "renorm cumsum_ cumprod_ complex polar trace trapezoid "
    "_weight_norm_interface _weight_norm_interface_backward replication_pad1d "
    "replication_pad1d_backward reflection_pad1d reflection_pad1d_backward "
    "elu_backward log_sigmoid_forward log_sigmoid_backward softplus_backward silu_backward "
    "gelu_backward sigmoid_backward tanh_backward threshold_backward leaky_relu_backward "
    "hardtanh_backward hardswish_backward hardsigmoid_backward mish_backward glu glu_backward "
    "logit_backward softshrink_backward hardshrink_backward rrelu_with_noise_backward "
    "_prelu_kernel _prelu_kernel_backward rrelu_with_noise hardswish "
    "_safe_softmax upsample_nearest1d upsample_nearest1d_backward upsample_linear1d "
    "upsample_linear1d_backward _adaptive_avg_pool2d _adaptive_avg_pool2d_backward "
    "adaptive_max_pool2d adaptive_max_pool2d_backward grid_sampler_2d grid_sampler_2d_backward "
    "pixel_shuffle pixel_unshuffle channel_shuffle take put index_reduce bincount histc "
    "nansum floor_divide linalg_cross rot90 block_diag logspace hann_window "
    "_linalg_check_errors _has_same_storage_numel "
    "fake_quantize_per_tensor_affine_cachemask fake_quantize_per_channel_affine_cachemask".split()
)
# n log n in the length of the dimension that is worked on.
_LOGARITHMIC = frozenset(
    "sort topk kthvalue median argsort _fft_r2c _fft_c2r _fft_c2c searchsorted unique _unique2 "
    "unique_dim nanmedian mode isin unique_consecutive bucketize multinomial".split()
)
# Every pair of elements that broadcasting brings together, however small the result is.
_BROADCASTING = frozenset("dist mse_loss smooth_l1_loss huber_loss masked_select allclose".split())
# Polynomials by a recurrence as long as their degree, which is the second argument.
_POLYNOMIALS = frozenset(
    f"special_{name}"
    for name in (
        *(f"{kind}chebyshev_polynomial_{form}" for kind in ("", "shifted_") for form in "tuvw"),
        *("hermite_polynomial_h", "hermite_polynomial_he"),
        *("laguerre_polynomial_l", "legendre_polynomial_p"),
    )
)
MOST_DEGREE = 1 << 31


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

    def clear(self) -> None:
        """Forgets what was counted so far."""
        counters = (self.flops, self.elements, self.calls, self.allocated, self.saved)
        for counted in (*counters, self.unknown, self._saved):
            counted.clear()

    def save(self, tensor: Tensor) -> None:
        """Counts a tensor that is kept for the backward pass."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._saved:
            self._saved.add(storage._cdata)
            self.saved["saved for the backward pass"] += storage.nbytes()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operator, formula, is_product = _cost_of(func)
        inputs = _tensors(args) + _tensors(tuple(kwargs.values())) if kwargs else _tensors(args)
        # Before the call: one in place may make its own memory larger.
        given = {_memory(x) for x in inputs}
        result = func(*args, **kwargs)
        name = self.name_of(operator, inputs)
        self.calls[name] += 1
        outputs = _tensors((result,))
        asked = 0
        for x in outputs:
            memory = _memory(x)
            if memory not in given:
                given.add(memory)
                asked += memory[1]
        self.allocated[name] += asked
        if formula is None:
            self.unknown.add(operator)
        elif is_product:
            # A product of complex numbers is four of real ones.
            products = 4 if any(x.is_complex() for x in (*inputs, *outputs)) else 1
            self.flops[name] += products * formula(result, inputs, outputs, args, kwargs)
        else:
            self.elements[name] += formula(result, inputs, outputs, args, kwargs)
        return result

    def name_of(self, operator: str, inputs: Sequence[Tensor]) -> str:  # noqa: ARG002
        """Returns under which name the call of an operator is counted; a subclass may differ."""
        return operator

    @property
    def total(self) -> int:
        """Floating-point operations, an element visited counted as one."""
        return self.flops.total() + self.elements.total()


def is_known(operator: Any) -> bool:
    """Says whether it is known what an operator (`torch.ops.aten...`) costs."""
    return _cost_of(operator)[1] is not None


# Returns what a call costs: of its result, the tensors among inputs and outputs, its arguments.
Cost = Callable[[Any, list[Tensor], list[Tensor], Any, Any], int]


@functools.cache
def _cost_of(func: Any) -> tuple[str, Cost | None, bool]:
    """Returns an operator's name, what it costs, None if unknown, and whether that is products."""
    name = func._schema.name.removeprefix("aten::")
    if func._overloadpacket in flop_registry:
        formula = flop_registry[func._overloadpacket]
        return (
            name,
            lambda result, _, __, args, kwargs: int(formula(*args, **kwargs, out_val=result)),
            True,
        )
    if name in _FLOPS:
        product = _FLOPS[name]
        return name, lambda result, _, __, args, ___: int(product(result, *args)), True
    if name in _ELEMENTS:
        visits = _ELEMENTS[name]
        return name, lambda result, _, __, args, ___: int(visits(result, *args)), False
    if name in _VIEWS:
        return name, lambda *_: 0, False
    if name in _BROADCASTING:
        return name, lambda _, inputs, *__: _broadcast(inputs).numel(), False
    if name in _LOGARITHMIC:
        return name, _n_log_n, False
    if name.rstrip("_") in _LINEAR or name in _LINEAR or torch.Tag.pointwise in func.tags:
        return name, _largest, False
    return name, None, False


def _largest(_: Any, inputs: list[Tensor], outputs: list[Tensor], *__: Any) -> int:
    largest = 0
    for tensors in (inputs, outputs):
        for x in tensors:
            largest = max(largest, x.numel())
    return largest


def _n_log_n(_: Any, inputs: list[Tensor], outputs: list[Tensor], *__: Any) -> int:
    largest = _largest(_, inputs, outputs)
    return largest * max(1, math.ceil(math.log2(max(2, largest))))


def _broadcast(tensors: Sequence[Tensor]) -> torch.Size:
    return torch.broadcast_shapes(*(x.shape for x in tensors))


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    """Returns the tensors in an operator's arguments or results: at most in lists and tuples."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            for item in value:
                if isinstance(item, Tensor):
                    found.append(item)
                elif isinstance(item, list | tuple):
                    found += _tensors(item)
    return found


def _memory(x: Tensor) -> tuple[int, int]:
    """Returns which memory a tensor lies in, and how large it is: one in place may enlarge it."""
    storage = x.untyped_storage()
    return storage._cdata, storage.nbytes()  # the address of the storage, also without data


def _solve(result: Tensor, matrix: Tensor, *_: Any) -> int:
    """n^2 multiply-adds, halved by the triangle, for each column of the result.

    The result is as large as matrix and right side are together, by broadcasting.
    """
    return result.numel() * matrix.shape[-1]


def _attention(_: Any, query: Tensor, key: Tensor, value: Tensor, *__: Any) -> int:
    """Both products of attention, over all pairs: a causal mask saves half of it at best."""
    pairs = query.shape[:-1].numel() * key.shape[-2]
    return 2 * pairs * (query.shape[-1] + value.shape[-1])


def _attention_backward(
    _: Any, __: Tensor, query: Tensor, key: Tensor, value: Tensor, *___: Any
) -> int:
    return 5 * _attention(None, query, key, value) // 2


def _product(_: Any, __: Tensor, a: Tensor, b: Tensor, *___: Any) -> int:
    """One multiply-add per element of `a` and column of `b`."""
    return 2 * a.numel() * b.shape[-1]


def _exponential(_: Any, matrices: Tensor, *__: Any) -> int:
    """Five products for the polynomial, and a squaring for each doubling of the largest norm."""
    norm = matrices.detach().abs().sum(dim=-2).max().item() if matrices.numel() else 0.0
    squarings = math.ceil(math.log2(norm)) if 1 < norm < math.inf else 0
    return 2 * matrices.numel() * matrices.shape[-1] * (5 + squarings)


def _trilinear(_: Any, *args: Any) -> int:
    """Two multiply-adds for each place of the three factors, broadcast against one another."""
    shapes = []
    for x, places in zip(args[:3], args[3:6], strict=True):
        for place in sorted(places):
            x = x.unsqueeze(place)
        shapes.append(x.shape)
    return 4 * torch.broadcast_shapes(*shapes).numel()


def _polynomial(result: Tensor, _: Any, degree: Any) -> int:
    """As many steps of a recurrence for each element as the largest degree says."""
    if isinstance(degree, Tensor):
        degree = degree.max().item() if degree.numel() else 0
    degree = degree if math.isfinite(degree) else MOST_DEGREE
    return result.numel() * max(1, min(MOST_DEGREE, int(degree)))


def _written(_: Any, x: Tensor, indices: Sequence[Tensor | None], *__: Any) -> int:
    """An index for each written element: the indices broadcast, times the dimensions left whole."""
    given = [index for index in indices if index is not None]
    masks = [index for index in given if index.dtype in (torch.bool, torch.uint8)]
    numbers = [index for index in given if index.dtype not in (torch.bool, torch.uint8)]
    dimension, indexed = 0, 1
    for index in indices:
        width = index.ndim if index is not None and any(index is mask for mask in masks) else 1
        if index is not None:
            indexed *= math.prod(x.shape[dimension : dimension + width])
        dimension += width
    each = _broadcast(numbers).numel() if numbers else 1
    places = max([each, *(mask.numel() for mask in masks)])
    return max(x.numel(), places * (x.numel() // max(1, indexed)))


def _filled(_: Any, x: Tensor, dimension: int, index: Tensor, *__: Any) -> int:
    whole = x.numel() // max(1, x.shape[dimension]) if x.ndim else 1
    return max(x.numel(), index.numel() * whole)


def _window(kernel: Any) -> int:
    """Returns how many elements a window in two dimensions has; one size stands for both."""
    sizes = [kernel] if isinstance(kernel, int) else list(kernel)
    return int(math.prod(sizes if len(sizes) > 1 else sizes * 2))


# By the result, then the arguments.
_FLOPS: dict[str, Callable[..., int]] = {
    "baddbmm_": _product,
    "addmm_": _product,
    "addbmm": _product,
    "addbmm_": _product,
    "linalg_solve_triangular": _solve,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
    "_scaled_dot_product_attention_math_for_mps": _attention,
    "_euclidean_dist": lambda y, a, *_: 2 * y.numel() * a.shape[-1],
    "_cdist_forward": lambda y, a, *_: 2 * y.numel() * a.shape[-1],
    "_cdist_backward": lambda _, gradient, a, *__: 4 * gradient.numel() * a.shape[-1],
    # Of the order of n^3 for each matrix.
    "_linalg_solve_ex": lambda y, a, *_: 2 * (a.numel() + y[0].numel()) * a.shape[-1],
    "linalg_lu_factor_ex": lambda _, a, *__: a.numel() * a.shape[-1],
    "linalg_lu_solve": lambda y, a, *_: 2 * y.numel() * a.shape[-1],
    "linalg_cholesky_ex": lambda _, a, *__: a.numel() * a.shape[-1],
    "linalg_matrix_exp": _exponential,
    "linalg_inv_ex": lambda _, a, *__: 2 * a.numel() * a.shape[-1],
    "_trilinear": _trilinear,
    # A layer of an LSTM: each token by both matrices.
    "mkldnn_rnn_layer": lambda _, x, w, u, *__: 2 * x.shape[:-1].numel() * (w.numel() + u.numel()),
    "mkldnn_rnn_layer_backward": lambda _, x, w, u, *__: (
        4 * x.shape[:-1].numel() * (w.numel() + u.numel())
    ),
    "vdot": lambda _, a, *__: 2 * a.numel(),
    "addmv": lambda _, __, a, *___: 2 * a.numel(),
    "addr": lambda _, __, a, b, *___: 2 * a.numel() * b.numel(),
    "dot": lambda _, a, *__: 2 * a.numel(),
    "mv": lambda _, a, *__: 2 * a.numel(),
}
# Visited elements, by the result, then the arguments.
_ELEMENTS: dict[str, Callable[..., int]] = {
    **dict.fromkeys(_POLYNOMIALS, _polynomial),
    **dict.fromkeys(("index_put", "index_put_", "_unsafe_index_put", "_index_put_impl_"), _written),
    **dict.fromkeys(("index_fill", "index_fill_"), _filled),
    **dict.fromkeys(("mvlgamma", "mvlgamma_"), lambda y, _, degree: y.numel() * max(1, degree)),
    # Each output visits a window; its gradient the same.
    "avg_pool1d": lambda y, _, kernel, *__: y.numel() * math.prod(kernel),
    "avg_pool2d": lambda y, _, kernel, *__: y.numel() * _window(kernel),
    "max_pool2d_with_indices": lambda y, _, kernel, *__: y[0].numel() * _window(kernel),
    "avg_pool2d_backward": lambda _, gradient, __, kernel, *___: gradient.numel() * _window(kernel),
    "max_pool2d_with_indices_backward": lambda _, gradient, __, kernel, *___: (
        gradient.numel() * _window(kernel)
    ),
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
