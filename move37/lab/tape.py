"""A mixer's forward pass as a list of PyTorch's operators.

It is recorded beside the program, and played in a process that has never run it (see `costing`).
What is played is what is scored, and its operators are of known cost: for what they cost, the
scored function can be had.

Covered: whatever PyTorch dispatches in a forward pass without gradients, changes in place included.
Not covered: a course that depends on the values of the input, of which a tape holds one; dice;
kernels that are no operators of PyTorch's. Such a tape gives other outputs.

Shape letters: B batch, T time, D model width.
"""

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from move37.nn.counting import Work, is_known
from move37.nn.memory import filled_memory

# Arguments that are told by their name in PyTorch.
_NAMED: Mapping[str, Mapping[str, Any]] = {
    kind: {name: getattr(torch, name) for name in names.split()}
    for kind, names in {
        "dtype": "float64 float32 float16 bfloat16 complex128 complex64 complex32 "
        "int64 int32 int16 int8 uint8 bool",
        "layout": "strided",
        "memory_format": "contiguous_format preserve_format channels_last channels_last_3d",
    }.items()
}
# The size of what comes out, or the course, depends on what is in a tensor.
_FREE = {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output}

# They trust the sizes of their arguments, or indices in them, and read or write elsewhere where
# these are wrong (`tests/lab/test_tape.py` shows it), or they leave memory as they found it. A
# forward pass needs none of them.
_TRUSTING = frozenset(
    "set_ _cummax_helper _cummin_helper embedding_dense_backward unfold_backward "
    "max_pool2d_with_indices_backward adaptive_max_pool2d_backward native_layer_norm_backward "
    "native_group_norm_backward native_batch_norm native_batch_norm_backward "
    "_native_batch_norm_legit _log_softmax_backward_data _weight_norm_interface "
    "_weight_norm_interface_backward log_sigmoid_backward rrelu_with_noise "
    "rrelu_with_noise_backward grid_sampler_2d_backward mkldnn_rnn_layer_backward".split()
)

Words = Any  # JSON


class NotRecorded(Exception):
    """A forward pass holds something that no tape can tell."""


class Recording(NamedTuple):
    """What goes over the link: words, and tensors that are no inputs and no results."""

    steps: list[Words]
    output: int  # the number of its tensor
    constants: list[Tensor]


class _Recorder(TorchDispatchMode):
    """Records every operator while it is active.

    Tensors are numbered: first the given ones, then constants and results as they come.
    """

    def __init__(self, given: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[Words] = []
        self.constants: list[Tensor] = []
        self._numbers: dict[int, int] = {}
        self._alive: list[Tensor] = []  # so that no other tensor gets the identity of one
        for tensor in given:
            self._add(tensor)

    def number(self, tensor: Tensor) -> int:
        """Returns the number of a tensor; one that was never seen is a constant."""
        if id(tensor) not in self._numbers:
            self.constants.append(tensor.detach().clone().contiguous())
            self.steps.append(None)
            self._add(tensor)
        return self._numbers[id(tensor)]

    def _add(self, tensor: Tensor) -> None:
        self._numbers[id(tensor)] = len(self._alive)
        self._alive.append(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        named = {name: self._words(value) for name, value in kwargs.items()}
        step = [func._schema.name, func._overloadname, [self._words(one) for one in args], named]
        result = func(*args, **kwargs)
        self.steps.append(step)
        for tensor in _tensors(result):
            self._add(tensor)
        return result

    def _words(self, value: Any) -> Words:
        if isinstance(value, Tensor):
            return {"tensor": self.number(value)}
        if isinstance(value, list | tuple):
            return [self._words(one) for one in value]
        if isinstance(value, torch.device):
            return {"device": None}
        if isinstance(value, float) and not math.isfinite(value):
            return {"number": str(value)}
        if isinstance(value, complex):
            return {"complex": [value.real, value.imag]}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        name = str(value).removeprefix("torch.")
        for kind, known in _NAMED.items():
            if name in known and value is known[name]:
                return {kind: name}
        raise NotRecorded(f"an operator is given a {type(value).__name__}")


def record(mixer: nn.Module, x_BTD: Tensor) -> Recording:
    """Returns a forward pass; raises NotRecorded, and whatever the mixer raises."""
    recorder = _Recorder([x_BTD, *mixer.parameters()])
    with torch.no_grad(), recorder:
        y_BTD = mixer(x_BTD)
    output = recorder.number(y_BTD)
    return Recording(recorder.steps, output, recorder.constants)


class Unknown(Exception):
    """A tape holds operators whose cost is not known."""


class Tape:
    """Words of a stranger about a forward pass, for one set of weights."""

    def __init__(
        self, words: Words, output: int, constants: Sequence[Tensor], weights: Sequence[Tensor]
    ) -> None:
        """Raises Unknown for operators that are not played, and anything for what is no tape."""
        self._steps = [None if step is None else _Step(*step) for step in words]
        self._output = output
        self._constants, self._weights = constants, weights
        self._works: dict[torch.Size, Work] = {}

    @torch.no_grad()
    def play(self, x_BTD: Tensor) -> tuple[Tensor, Work]:
        """Returns the output, and the work that it took.

        Raises Unknown for operators whose cost is not known for these inputs, and anything for a
        tape that cannot be played.
        """
        # Every play begins with the same: the random state, copies of all tensors, since a tape may
        # write, and memory that is filled before an operator that leaves it as it found it.
        torch.default_generator.manual_seed(0)
        tensors = [x_BTD.clone(), *(one.clone() for one in self._weights)]
        constants = iter([one.clone() for one in self._constants])
        # Where no size depends on what is in a tensor, the same shape is the same work.
        with filled_memory():
            if x_BTD.shape in self._works:
                return self._run(tensors, constants), self._works[x_BTD.shape]
            with Work() as work:
                y_BTD = self._run(tensors, constants)
        if work.unknown:
            raise Unknown(", ".join(sorted(work.unknown)))
        if not any(step and step.has_free_sizes for step in self._steps):
            self._works[x_BTD.shape] = work
        return y_BTD, work

    def _run(self, tensors: list[Tensor], constants: Iterator[Tensor]) -> Tensor:
        for step in self._steps:
            if step is None:
                tensors.append(next(constants))
                continue
            result = step.run(tensors)
            if isinstance(result, Tensor):
                tensors.append(result)
            else:
                tensors += _tensors(result)
        return tensors[self._output]


class _Step:
    """One operator, and what it is given."""

    def __init__(self, name: str, overload: str, arguments: list[Words], named: Words) -> None:
        space, _, short = name.partition("::")
        packet = getattr(torch.ops.aten, short, None) if space == "aten" else None
        self._operator: Any = packet and getattr(packet, overload or "default")
        if self._operator is None or not is_known(self._operator) or short in _TRUSTING:
            raise Unknown(short or name)
        self.has_free_sizes = bool(_FREE & set(self._operator.tags))
        self._named = {name: _argument(words) for name, words in named.items()}
        self._arguments = [_argument(words) for words in arguments]

    def run(self, tensors: Sequence[Tensor]) -> Any:
        arguments = [
            one.of(tensors) if isinstance(one, _Argument) else one for one in self._arguments
        ]
        named = {
            name: one.of(tensors) if isinstance(one, _Argument) else one
            for name, one in self._named.items()
        }
        return self._operator(*arguments, **named)


def _tensors(result: Any) -> list[Tensor]:
    return [one for one in tree_leaves(result) if isinstance(one, Tensor)]


class _Argument(NamedTuple):
    """An argument that is known when the tape is played: a tensor, a list with one, a device."""

    of: Callable[[Sequence[Tensor]], Any]


def _argument(words: Words) -> Any:
    """Returns an argument, or how it is found among the tensors."""
    if isinstance(words, list):
        parts = [_argument(one) for one in words]
        if not any(isinstance(one, _Argument) for one in parts):
            return parts
        return _Argument(
            lambda tensors: [
                one.of(tensors) if isinstance(one, _Argument) else one for one in parts
            ]
        )
    if not isinstance(words, dict):
        return words
    ((kind, value),) = words.items()
    if kind == "tensor":
        return _Argument(operator.itemgetter(value))
    if kind == "device":
        return _Argument(lambda tensors: tensors[0].device)
    if kind == "number":
        return float(value)
    if kind == "complex":
        return complex(*value)
    return _NAMED[kind][value]
