"""Mixers whose weights are here, and whose computation is in a candidate's process.

A question goes over the link with the tensors that belong to it; `answering` is the other end.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from move37.lab.link import COUNTED, Closed, Flood, Link, described, name_of, on_cpu, room_for
from move37.lab.words import End, Garbled, as_list, as_object, expect
from move37.nn.counting import Work
from move37.nn.language_model import TooLarge

DTYPES = ("float32", "float64")
OTHERS = ("bfloat16", "float16", "complex64", "complex128", "int64")  # that weights may have
DIMENSIONS = 8  # of a weight, at most
# What an answer to each question has to name.
ANSWERS: dict[str, set[str]] = {
    "build": {"mixer", "weights", "trained", "has_loss"},
    "forward": set(),
    "backward": {"missing"},
    "record": {"words", "output", "constants"},
    "tape": {"tape"},
    "play": {"work"},
    "decode": {"state"},
}


MOST_WORDS = 32 << 20  # bytes of a tape
MOST_BYTES = 64 << 20  # of its constants, and of a state
ANY = (*DTYPES, *OTHERS, "bool", "uint8", "int8", "int16", "int32")


class Failed(Exception):
    """The candidate failed; says how, in words for a person, and whether by being killed."""

    def __init__(self, told: str, *, killed: bool = False) -> None:
        super().__init__(told)
        self.killed = killed


class Refused(Exception):
    """The candidate has failed a check; its process may say so of its own program."""

    def __init__(self, check: str, evidence: str) -> None:
        super().__init__(evidence)
        self.check, self.evidence = check, evidence


class Process(Protocol):
    """A process with the candidate's program in it, at the other end of a link."""

    @property
    def link(self) -> Link:
        """Carries the questions and the answers."""
        ...

    def how_it_ended(self) -> End:
        """Returns how it ended, once its link is closed."""
        ...

    def peak_bytes(self) -> int:
        """Returns the most memory that it has held so far."""
        ...


# Starts a process; it ends with the block.
Start = Callable[[], contextlib.AbstractContextManager[Process]]


@contextlib.contextmanager
def blamed(process: Process) -> Iterator[None]:
    """Within it, the end of the process or too many words are the candidate's failure."""
    try:
        yield
    except Closed:
        end = process.how_it_ended()
        raise Failed(end.reason, killed=end.killed) from None
    except Flood as error:
        raise Failed(f"the process ended: {error}") from None


def is_of_the_device(error: Exception) -> bool:
    """Says whether the accelerator failed in this process, where no candidate's code runs."""
    return isinstance(error, getattr(torch, "AcceleratorError", ()))  # since PyTorch 2.8


class Asking:
    """Asks a process, and is told."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def ask(self, question: dict[str, Any], tensors: Sequence[Tensor] = ()) -> dict[str, Any]:
        """Returns the answer; raises Failed with what the candidate's program raised."""
        link = self._process.link
        with blamed(self._process):
            link.new_conversation()
            link.send(question, tensors)
            answer = link.receive()
        if "refused" in answer:
            told = as_object(answer["refused"])
            raise Refused(str(told.get("check")), str(told.get("evidence")))
        if "raised" in answer:
            raise Failed(str(answer["raised"]))
        missing = ANSWERS[question["ask"]] - answer.keys()
        if missing:
            raise Garbled(f"an answer without {', '.join(sorted(missing))}")
        return answer

    def fill(self, tensors: Sequence[Tensor]) -> None:
        """Fills the tensors with the numbers that come with the answer."""
        with blamed(self._process):
            self._process.link.fill(tensors)


class Recorded(NamedTuple):
    """A forward pass in the words of a stranger, which nobody reads in this process."""

    words: Tensor
    output: int
    constants: list[Tensor]
    weights: list[Tensor]


def not_played(difference: str) -> Refused:
    """Returns what is said of a tape that is not the program's, with what differs."""
    return Refused(
        "sub-quadratic",
        "its work cannot be counted: the operators that it ran for some sequences give, for "
        f"others, {difference}; which ones run, and on which sizes, has to depend on the "
        "length only",
    )


class Player(Asking):
    """Plays tapes, in a process of the lab that has not loaded the candidate's program."""

    def ask(self, question: dict[str, Any], tensors: Sequence[Tensor] = ()) -> dict[str, Any]:
        """Returns the answer; raises Refused for a tape that cannot be played."""
        try:
            return super().ask(question, tensors)
        except Failed as error:  # for example sizes that the values of other sequences decide
            if error.killed:
                raise
            raise not_played(str(error).splitlines()[0]) from error

    def take(self, recorded: Recorded) -> int:
        """Returns the number of a tape in that process; raises Refused for what is no tape."""
        question = {
            "ask": "tape",
            "words": len(recorded.words),
            "output": recorded.output,
            "constants": described(recorded.constants),
            "weights": described(recorded.weights),
        }
        answer = self.ask(question, [recorded.words, *recorded.constants, *recorded.weights])
        if not _is_count(answer["tape"]):
            raise Garbled("a tape without a number")
        tape: int = answer["tape"]
        return tape

    def play(self, tape: int, x_BTD: Tensor) -> tuple[Tensor, Work]:
        """Returns the output (B, T, D) of a tape, and its work by operator."""
        question = {
            "ask": "play",
            "tape": tape,
            "shape": list(x_BTD.shape),
            "dtype": name_of(x_BTD.dtype),
        }
        answer = self.ask(question, [on_cpu(x_BTD)])
        work = Work()
        for kind in COUNTED:
            counts = as_object(as_object(answer["work"]).get(kind))
            if not all(map(_is_count, counts.values())):
                raise Garbled("a count that is no whole number")
            getattr(work, kind).update(counts)
        y_BTD = torch.empty(x_BTD.shape, dtype=x_BTD.dtype)
        self.fill([y_BTD])
        return y_BTD, work


class PlayedMixer(nn.Module):
    """A mixer whose forward pass is played from tapes elsewhere, one for each shape of its input.

    The candidate's process sees the first input of each shape, for which the tape is recorded: it
    should not be one that is scored.
    """

    def __init__(
        self, mixers: "Mixers", mixer: "RemoteMixer", player: Player, recorded: dict[Any, Recorded]
    ) -> None:
        super().__init__()
        # As many parameters as the mixer has: the model around it is sized by them.
        self.weights = nn.ParameterList(
            [nn.Parameter(on_cpu(weight), weight.requires_grad) for weight in mixer.weights]
        )
        self.work = Work()  # of the last call
        self.most_work = 0  # that a call so far took, in floating-point operations
        self._mixers, self._mixer = [mixers], [mixer]  # in lists: no parts of this module
        self._player, self._recorded, self._tapes = player, recorded, dict[Any, int]()

    def again(self, player: Player) -> "PlayedMixer":
        """Returns the mixer that plays the same tapes in another process."""
        return PlayedMixer(self._mixers[0], self._mixer[0], player, self._recorded)

    def record(self, x_BTD: Tensor) -> int:
        """Records a tape for inputs of this shape, if there is none; returns its number."""
        key = (x_BTD.dtype, *x_BTD.shape)
        if key not in self._recorded:
            self._recorded[key] = self._mixers[0].recorded(self._mixer[0], x_BTD)
        if key not in self._tapes:
            self._tapes[key] = self._player.take(self._recorded[key])
        return self._tapes[key]

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Returns the output (B, T, D) for an input; the work it took is in `work`."""
        y_BTD, self.work = self._player.play(self.record(x_BTD), x_BTD)
        self.most_work = max(self.most_work, self.work.total)
        return y_BTD


class Begun(NamedTuple):
    """After how many tokens decoding goes on, and the tensors of the state there."""

    tokens: int
    state: list[Tensor]


class Mixers(Asking):
    """The mixers of one model, built in a candidate's process from the seeds of a model's."""

    def __init__(self, process: Process, most_parameters: int, seeds: Iterator[int]) -> None:
        super().__init__(process)
        self._seeds = seeds
        self._most = self._left = most_parameters
        self._built = 0

    def make(self, width: int, heads: int) -> "RemoteMixer":
        """Returns the next mixer: its weights are here, its computation there."""
        size = {"width": width, "heads": heads}
        said = self.ask({"ask": "build", "seed": next(self._seeds)} | size)
        expect(said["mixer"], self._built, "number of the mixer")
        sizes, trained = as_list(said["weights"]), as_list(said["trained"])
        expect([type(flag) for flag in trained], [bool] * len(sizes), "trained weights")
        weights = [self._empty(*given) for given in zip(sizes, trained, strict=True)]
        self.fill(weights)
        self._built += 1
        kind = RemoteMixerWithLoss if said["has_loss"] is True else RemoteMixer
        parameters = [
            nn.Parameter(weight, requires_grad=is_trained)
            for weight, is_trained in zip(weights, trained, strict=True)
        ]
        return kind(self, self._built - 1, parameters)

    def recorded(self, mixer: "RemoteMixer", x_BTD: Tensor) -> Recorded:
        """Returns a forward pass for inputs of this shape, as the candidate's process tells it."""
        weights = [
            on_cpu(weight.to(x_BTD.dtype) if weight.is_floating_point() else weight)
            for weight in mixer.weights
        ]
        question = {
            "ask": "record",
            "mixer": mixer.number,
            "shape": list(x_BTD.shape),
            "dtype": name_of(x_BTD.dtype),
        }
        said = self.ask(question, [on_cpu(x_BTD), *weights])
        size, output = said["words"], said["output"]
        if not _is_count(size) or not _is_count(output) or size > MOST_WORDS:
            raise Garbled("a tape of no size, or of too large a one")
        words = torch.empty(size, dtype=torch.uint8)
        constants = _room(said["constants"])
        self.fill([words, *constants])
        return Recorded(words, output, constants, weights)

    def decoded(
        self, mixer: "RemoteMixer", x_BTD: Tensor, begun: Begun | None = None
    ) -> tuple[Tensor, list[Tensor]] | None:
        """Returns outputs token by token, and the tensors of the state after them.

        It goes on from a state, if one is given. None: the mixer does not offer to decode.
        """
        weights = [on_cpu(one) for one in mixer.weights]
        before, state = begun or Begun(0, [])
        question = {
            "ask": "decode",
            "mixer": mixer.number,
            "shape": list(x_BTD.shape),
            "from": before,
            "state": described(state),
        }
        said = self.ask(question, [on_cpu(x_BTD), *state, *weights])
        if said["state"] is None:
            return None
        y_BTD, ended = torch.empty(x_BTD.shape), _room(said["state"])
        self.fill([y_BTD, *ended])
        return y_BTD, ended

    def _empty(self, size: object, is_trained: bool) -> Tensor:
        """Returns a tensor for weights of this type and shape, if the model has room for them."""
        dtype, shape = _type_and_shape(size, (*DTYPES, *OTHERS))
        if dtype in OTHERS and (is_trained or dtype != "int64"):
            raise Failed(f"a weight is {dtype}: expected float32, and casts in the computation")
        # Each size alone, too: one of nothing makes nothing of all others.
        self._left -= max(math.prod(shape), *shape, 0)
        if self._left < 0:
            raise TooLarge(f"the mixers have more parameters than the whole model, {self._most:,}")
        return torch.empty(shape, dtype=getattr(torch, dtype))


def _room(told: object) -> list[Tensor]:
    """Returns tensors for numbers of these types and shapes, if they are not too many."""
    left = MOST_BYTES
    for one in as_list(told):
        dtype, shape = _type_and_shape(one, ANY)
        left -= max(math.prod(shape), *shape, 1) * getattr(torch, dtype).itemsize
        if left < 0:
            raise Failed("its tape or its state holds too many numbers")
    return room_for(as_list(told))


def _type_and_shape(told: object, types: Sequence[str]) -> tuple[str, list[int]]:
    """Returns what a stranger says of a tensor; raises Garbled for what is none."""
    dtype, *shape = as_list(told) or [None]
    if dtype not in types or not all(map(_is_count, shape)) or len(shape) > DIMENSIONS:
        raise Garbled("tensors of no type or shape")
    return dtype, shape


def _is_count(data: object) -> bool:
    return type(data) is int and 0 <= data < 2**53


class RemoteMixer(nn.Module):
    """A mixer whose weights are here and whose computation is in a candidate's process."""

    def __init__(self, mixers: Mixers, number: int, weights: list[nn.Parameter]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(weights)
        self.mixers = mixers
        self.number = number
        self._loss: Tensor | None = None

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Returns the mixer's output; its gradients are asked for in the backward pass."""
        outputs = _Remote.apply(self, torch.is_grad_enabled(), x_BTD, *self.weights)  # type: ignore[no-untyped-call]
        self._loss = outputs[1] if len(outputs) > 1 else None
        y_BTD: Tensor = outputs[0]
        return y_BTD


class RemoteMixerWithLoss(RemoteMixer):
    """One that adds something to the loss in training."""

    def auxiliary_loss(self) -> Tensor:
        """Returns what the last forward pass in training adds to the loss."""
        assert self._loss is not None
        return self._loss


class _Remote(torch.autograd.Function):
    """One forward pass, and one backward pass, at the other end."""

    @staticmethod
    def forward(ctx: Any, mixer: RemoteMixer, keep: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        x_BTD = inputs[0]
        question = {
            "ask": "forward",
            "mixer": mixer.number,
            "shape": list(x_BTD.shape),
            "dtype": name_of(x_BTD.dtype),
            "train": mixer.training,
            "keep": keep,
        }
        mixer.mixers.ask(question, [on_cpu(one) for one in inputs])
        outputs = [torch.empty(x_BTD.shape, dtype=x_BTD.dtype)]
        if keep and isinstance(mixer, RemoteMixerWithLoss):
            outputs.append(torch.empty((), dtype=x_BTD.dtype))
        mixer.mixers.fill(outputs)
        ctx.mixer, ctx.like = mixer, inputs
        return tuple(one.to(x_BTD.device) for one in outputs)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        question = {"ask": "backward", "mixer": ctx.mixer.number}
        said = ctx.mixer.mixers.ask(question, [on_cpu(slope) for slope in slopes])
        missing = as_list(said["missing"])
        trained = [0, *(i for i, one in enumerate(ctx.like) if i and one.requires_grad)]
        found = [place for i, place in enumerate(trained) if i not in missing]
        given = [torch.empty(ctx.like[place].shape, dtype=ctx.like[place].dtype) for place in found]
        ctx.mixer.mixers.fill(given)
        gradients: list[Tensor | None] = [None] * len(ctx.like)
        for place, gradient in zip(found, given, strict=True):
            gradients[place] = gradient.to(slopes[0].device)
        return None, None, *gradients
