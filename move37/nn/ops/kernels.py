"""The same operators on CUDA, by the Triton kernels of `flash-linear-attention` (package `fla`).

Needs fla 0.5.0 or later, the first release whose kernels know no other layout than (B, T, H, K)
(no `head_first`). fla is optional and is imported when `usable` first asks for it.

Covered: float32 (where PyTorch may multiply in TF32: the kernels do), bfloat16 and float16; K
from 16 to 256, V from 16; any T; packed documents; gradients, and gradients of gradients (by the
chunked twin). Not covered: float64, other sizes, the count of operators (kernels are invisible
to it), scalar decays on Hopper cards with a Triton from 3.4 to 3.7.0, whose gradients are wrong
there (fla issue 640: fla refuses them). `usable` says no there, and `chunked` takes over.

Shape letters: B batch, T time, H heads, K key size, V value size, N documents. See `reference`
for the definitions. Kernels of Yang and Zhang, github.com/fla-org/flash-linear-attention; only
called, nothing is copied.
"""

import functools
import importlib
import importlib.util
import re
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from move37.nn.ops import chunked

OLDEST = (0, 5)
HOPPER = 9  # the major compute capability
WRONG_ON_HOPPER = ((3, 4, 0), (3, 7, 1))  # Triton from the first, before the second
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# A matrix product in Triton has at least 16 rows and columns; below, kernels differ in whether
# they round up.
SMALLEST = 16
# The delta rules refuse a larger K. Linear attention would not: one limit for all is simpler.
LARGEST_KEY = 256


def usable(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay: Tensor | None = None,
    *,
    delta: bool = False,
) -> bool:
    """Says whether the kernels may take these: device, dtype, sizes, and fla is there.

    `delta` is for the delta rule.
    Whether gradients of gradients are wanted does not matter, see `_Kernel`.
    """
    dtype, K, V = q_BTHK.dtype, q_BTHK.shape[-1], v_BTHV.shape[-1]
    # In float32 the delta rule without decay goes through the kernel with one.
    by_scalar = delta and dtype == torch.float32
    scalar = by_scalar if log_decay is None else log_decay.ndim == 3
    return (
        q_BTHK.is_cuda
        and dtype in DTYPES
        and dtype == k_BTHK.dtype == v_BTHV.dtype  # the kernels do not promote
        and SMALLEST <= K <= LARGEST_KEY
        and V >= SMALLEST
        # In float32 the kernels multiply in TF32, to three digits: only who lets PyTorch do so.
        and not (dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest")
        # What watches operators (`nn.counting`) would see no work at all.
        and not is_in_torch_dispatch_mode()
        and not chunked.transformed()
        and _fla() is not None
        and not (scalar and _wrong_on(q_BTHK.device))
    )


@functools.cache
def _fla() -> Any:
    """Returns the module `fla.ops`, or None where fla is missing, broken or too old.

    Only a missing fla is quiet: falling back although one is installed would be a riddle.
    """
    try:
        version = str(importlib.import_module("fla").__version__)
        kernels = importlib.import_module("fla.ops")
    except Exception as error:  # noqa: BLE001  a Triton that fla does not know fails in any way
        if not (isinstance(error, ModuleNotFoundError) and error.name == "fla"):
            warnings.warn(f"fla is installed but not importable: {error!r}", stacklevel=3)
        return None
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        expected = ".".join(map(str, OLDEST))
        warnings.warn(
            f"fla {version} is too old, its kernels are not used; expected {expected} or later: "
            "pip install -U flash-linear-attention",
            stacklevel=3,
        )
        return None
    return kernels


@functools.cache
def _wrong_on(device: torch.device) -> bool:
    """Says whether gradients through scalar decays are wrong on this card; warns if so."""
    if torch.cuda.get_device_capability(device)[0] != HOPPER:
        return False
    if importlib.util.find_spec("tilelang") is not None:  # fla then takes its kernel
        return False
    version = str(importlib.import_module("triton").__version__)
    first, mended = WRONG_ON_HOPPER
    wrong = first <= tuple(int(x) for x in re.findall(r"\d+", version)[:3]) < mended
    if wrong:
        warnings.warn(
            f"Triton {version} gives wrong gradients of scalar decays on this card, so these are "
            "left to move37's own operators, which are slower; with Triton 3.7.1 or later, or "
            "`pip install tilelang`, fla's kernels are used",
            stacklevel=3,
        )
    return wrong


# ---------------------------------------------------------------- operators


def linear_attention(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay: Tensor | None = None,
    documents_BT: Tensor | None = None,
) -> Tensor:
    """See `reference.linear_attention`. Ask `usable` first."""

    def kernel(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor | None) -> Tensor:
        if log_decay is None:
            # fla's `chunk_linear_attn` without its normalisation is a call of this.
            return _run("chunk_simple_gla", documents_BT, q=q, k=k, v=v)
        name = "chunk_simple_gla" if log_decay.ndim == 3 else "chunk_gla"
        return _run(name, documents_BT, q=q, k=k, v=v, g=_gate(log_decay))

    twin = functools.partial(chunked.linear_attention, documents_BT=documents_BT)
    return _differentiable(kernel, twin, q_BTHK, k_BTHK, v_BTHV, log_decay)


def delta_rule(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor,
    log_decay: Tensor | None = None,
    documents_BT: Tensor | None = None,
) -> Tensor:
    """See `reference.delta_rule`. Ask `usable` first."""

    def kernel(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None) -> Tensor:
        if log_decay is None and q.dtype != torch.float32:
            return _run("chunk_delta_rule", documents_BT, q=q, k=k, v=v, beta=beta)
        if log_decay is None:
            # `chunk_delta_rule` refuses float32; this is the same one with nothing forgotten.
            log_decay = torch.zeros_like(beta)
        name = "chunk_gated_delta_rule" if log_decay.ndim == 3 else "chunk_kda"
        return _run(name, documents_BT, q=q, k=k, v=v, beta=beta, g=_gate(log_decay))

    twin = functools.partial(chunked.delta_rule, documents_BT=documents_BT)
    return _differentiable(kernel, twin, q_BTHK, k_BTHK, v_BTHV, beta_BTH, log_decay)


def generalized_delta_rule(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    erase_BTHK: Tensor,
    write_BTHK: Tensor,
    log_decay_BTHK: Tensor,
    documents_BT: Tensor | None = None,
) -> Tensor:
    """See `reference.generalized_delta_rule`. Ask `usable` first.

    In float32 fla warns that not every card takes it.
    """

    def kernel(
        q: Tensor, k: Tensor, v: Tensor, erase: Tensor, write: Tensor, log_decay: Tensor
    ) -> Tensor:
        gate = _gate(log_decay)
        return _run("chunk_dplr_delta_rule", documents_BT, q=q, k=k, v=v, a=erase, b=write, gk=gate)

    twin = functools.partial(chunked.generalized_delta_rule, documents_BT=documents_BT)
    inputs = (q_BTHK, k_BTHK, v_BTHV, erase_BTHK, write_BTHK, log_decay_BTHK)
    return _differentiable(kernel, twin, *inputs)


# ---------------------------------------------------------------- the call


def _gate(log_decay: Tensor) -> Tensor:
    """The log decay in at least float32, as the kernels sum it over 64 positions."""
    gate = log_decay.to(torch.promote_types(log_decay.dtype, torch.float32))
    return chunked.limited(gate)


def _run(name: str, documents_BT: Tensor | None, **inputs: Tensor) -> Tensor:
    """Calls the kernel `name`; documents are laid end to end in one row, as the kernels want.

    Odd sizes get a column of zeros, which changes nothing: in half precision some kernels refuse
    them.
    """
    V = inputs["v"].shape[-1]
    for key, x in inputs.items():
        if x.ndim == 4 and x.shape[-1] % 2:
            inputs[key] = F.pad(x, (0, 1))
    return _run_even(name, documents_BT, inputs)[..., :V]


def _run_even(name: str, documents_BT: Tensor | None, inputs: dict[str, Tensor]) -> Tensor:
    kernel = getattr(_fla(), name)
    # `scale` else is K^-1/2. All other options are off by default: no normalised keys, no
    # activation of gates, no final state.
    if documents_BT is None:
        o_BTHV, _ = kernel(**inputs, scale=1.0)
        return o_BTHV
    rows = {key: x.flatten(0, 1)[None] for key, x in inputs.items()}
    o_1THV, _ = kernel(**rows, scale=1.0, cu_seqlens=borders(documents_BT))
    return o_1THV[0].unflatten(0, documents_BT.shape)


def borders(documents_BT: Tensor) -> Tensor:
    """Where documents begin when all rows are laid end to end, and the end: (N + 1), int64.

    A row begins a document, whatever its number. How many there are is a shape, so this waits
    for the device.
    """
    starts_BT = torch.ones_like(documents_BT, dtype=torch.bool)
    starts_BT[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
    return F.pad(starts_BT.flatten().nonzero()[:, 0], (0, 1), value=documents_BT.numel())


def _differentiable(
    kernel: Callable[..., Tensor], twin: Callable[..., Tensor], *inputs: Tensor | None
) -> Tensor:
    if not torch.is_grad_enabled():
        return kernel(*inputs)
    output: Tensor = _Kernel.apply(kernel, twin, *inputs)  # type: ignore[no-untyped-call]
    return output


class _Kernel(torch.autograd.Function):
    """A kernel with its own backward, or where that is to be differentiated, its twin's.

    A backward pass in Triton is a constant to autograd, so a gradient of it would be silently
    wrong. Whether one is wanted is not known before the backward pass: there gradients are
    recorded (`create_graph`), and only then. The graph of the kernel serves one backward pass
    and is let go, so that memory falls as the pass goes on; a second pass over a retained graph
    is the twin's too.
    """

    @staticmethod
    def forward(
        ctx: Any,
        kernel: Callable[..., Tensor],
        twin: Callable[..., Tensor],
        *inputs: Tensor | None,
    ) -> Tensor:
        leaves = [None if x is None else x.detach().requires_grad_(x.requires_grad) for x in inputs]
        with torch.enable_grad():
            output = kernel(*leaves)
        ctx.twin, ctx.graph = twin, (output, leaves)
        ctx.save_for_backward(*inputs)
        return output.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors  # before all else: raises where autograd's own rules are broken
        graph, ctx.graph = ctx.graph, None
        if graph is None or torch.is_grad_enabled():
            return None, None, *chunked._by_autograd(ctx.twin, inputs, gradients)
        output, leaves = graph
        wanted = [x for x in leaves if x is not None and x.requires_grad]
        found = iter(torch.autograd.grad(output, wanted, gradients))
        own = (next(found) if x is not None and x.requires_grad else None for x in leaves)
        return None, None, *own
