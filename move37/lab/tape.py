"""A mixer's forward pass as a list of PyTorch's operators.

It is recorded beside the program, and played where no candidate's code runs. A tape that gives,
for other inputs, what the program gave for them is itself a program for that function, made of
operators of known cost: for what they cost, the function can be had.

Covered: whatever PyTorch dispatches in a forward pass without gradients, changes in place included.
Not covered: a course that depends on the values of the input, of which a tape holds one; dice;
kernels that are no operators of PyTorch's. Such a tape gives other outputs.

Shape letters: B batch, T time, D model width.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from move37.lab.words import Garbled
from move37.nn.counting import is_known

# Arguments that are told by their name in PyTorch.
_NAMED: Mapping[str, type] = {
    "dtype": torch.dtype,
    "layout": torch.layout,
    "memory_format": torch.memory_format,
}
# They trust what they are told of sizes and places in memory.
_TRUSTING = frozenset(("set_", "resize_", "_cummax_helper", "_cummin_helper"))

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
        for name, kind in _NAMED.items():
            if isinstance(value, kind):
                return {name: str(value).removeprefix("torch.")}
        raise NotRecorded(f"an operator is given a {type(value).__name__}")


def record(mixer: nn.Module, x_BTD: Tensor) -> Recording:
    """Returns a forward pass; raises NotRecorded, and whatever the mixer raises."""
    recorder = _Recorder([x_BTD, *mixer.parameters()])
    with torch.no_grad(), recorder:
        y_BTD = mixer(x_BTD)
    output = recorder.number(y_BTD)
    return Recording(recorder.steps, output, recorder.constants)


class Tape:
    """Words of a stranger about a forward pass: parsed, not believed."""

    def __init__(self, words: Words, output: Words, constants: Sequence[Tensor]) -> None:
        """Raises Garbled for what is no tape, and Unknown for operators that are not played."""
        try:
            self._steps = [None if step is None else _Step.read(*step) for step in words]
        except (TypeError, AttributeError) as error:
            raise Garbled(f"no tape: {error}") from None
        self._output = output
        self._constants = list(constants)
        self._kept = [one.clone() for one in constants]

    def play(self, given: Sequence[Tensor]) -> Tensor:
        """Returns the output; given are input and weights, in the order of the recording.

        Raises Garbled for a tape that cannot be played.
        """
        tensors = list(given)
        constants = iter(self._constants)
        try:
            for step in self._steps:
                if step is None:
                    tensors.append(next(constants))
                else:
                    tensors += step.run(tensors)
            output = tensors[self._output]
        except (
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            StopIteration,
            RuntimeError,
        ) as error:
            raise Garbled(f"no tape: {error!r}") from None
        # As before, where the tape has written into one; to copy all would count as its work.
        for i, kept in enumerate(self._kept):
            if self._constants[i]._version != kept._version:
                self._constants[i] = kept.clone()
        return output


class Unknown(Exception):
    """A tape holds operators whose cost is not known."""


class _Step(NamedTuple):
    operator: Any
    arguments: list[Words]
    named: dict[str, Words]

    @classmethod
    def read(cls, name: str, overload: str, arguments: list[Words], named: Words) -> "_Step":
        space, _, short = name.partition("::")
        packet = getattr(torch.ops.aten, short, None) if space == "aten" else None
        if packet is None or short in _TRUSTING or "backward" in short:
            raise Unknown(name.removeprefix("aten::"))
        operator = getattr(packet, overload or "default")
        if not is_known(operator):
            raise Unknown(short)
        return cls(operator, list(arguments), dict(named))

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        arguments = [_value(one, tensors) for one in self.arguments]
        named = {name: _value(one, tensors) for name, one in self.named.items()}
        return _tensors(self.operator(*arguments, **named))


def _tensors(result: Any) -> list[Tensor]:
    return [one for one in tree_leaves(result) if isinstance(one, Tensor)]


def _value(words: Words, tensors: Sequence[Tensor]) -> Any:
    if isinstance(words, list):
        return [_value(one, tensors) for one in words]
    if not isinstance(words, dict):
        return words
    ((kind, value),) = words.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "device":
        return tensors[0].device
    if kind == "number":
        return float(value)
    if kind == "complex":
        return complex(*value)
    found = getattr(torch, value)
    if not isinstance(found, _NAMED[kind]):
        raise TypeError(f"{value} is no {kind}")
    return found


class TapedMixer(nn.Module):
    """A mixer whose weights are here, and whose forward pass is played from a tape."""

    def __init__(self, weights: Sequence[Tensor], tape: Tape) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(one, one.requires_grad) for one in weights])
        self._tape = tape

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Returns the output for an input of the shape that was recorded; raises Garbled."""
        return self._tape.play([x_BTD, *self.weights])
