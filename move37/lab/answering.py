"""Answers, from within a candidate's process, the process that measures it.

That one holds the model around the mixers, the batches, the labels, the optimiser and the clock;
here are the candidate's mixers, which are told weights and inputs and return outputs and
gradients. What this process says of itself is not believed where `measuring` can compute it.
"""

import json
import os
import signal
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from move37.lab import worker
from move37.lab.link import COUNTED, Closed, Link, described, memory_of, name_of, on_cpu, room_for
from move37.lab.loading import Program, Refused, load_program
from move37.lab.tape import NotRecorded, Tape, Unknown, record
from move37.lab.words import OVERDUE
from move37.records import Assignment, Audit, Crashed, to_data
from move37.verify.subject import describe

Asked = dict[str, Any]
Answer = tuple[dict[str, Any], list[Tensor]]


class _Mixer:
    """One mixer, its weights in the processor's memory, and what a backward pass starts from."""

    def __init__(self, mixer: nn.Module, device: str, build: Callable[[], nn.Module]) -> None:
        self.module: Any = mixer.to(device)
        self.device = device
        self.build = build
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        for parameter in mixer.parameters():
            parameter.data = parameter.data.contiguous()
        self.weights = [on_cpu(parameter) for parameter in mixer.parameters()]

    def take(self, dtype: torch.dtype) -> list[Tensor]:
        """Returns where weights of this type belong; `put` puts those of other devices there."""
        floats = [one for one in self.weights if one.is_floating_point()]
        if any(one.dtype != dtype for one in floats):
            # Not `to`, which would make real numbers of complex ones.
            self.module.double() if dtype == torch.float64 else self.module.float()
            self.weights = [on_cpu(parameter) for parameter in self.module.parameters()]
        return self.weights

    def put(self) -> list[Tensor]:
        """Returns the parameters, which have now the values of the weights."""
        parameters = list(self.module.parameters())
        if len(parameters) != len(self.weights):
            told = (
                f"has {len(parameters)} parameters, and had {len(self.weights)} when it was built"
            )
            raise Refused("fits", f"while it is trained or scored, the mixer {told}")
        for parameter, weight in zip(parameters, self.weights, strict=True):
            if parameter.data_ptr() != weight.data_ptr():
                parameter.data.copy_(weight)
        return parameters


class Answers:
    """The candidate's program in this process, and its mixers, numbered as they were built."""

    def __init__(self, work: Assignment | Audit, link: Link) -> None:
        self._work = work
        self._link = link
        self._loaded: Program | None = None
        self._mixers: list[_Mixer] = []
        self._tapes: list[Tape] = []

    def serve(self) -> None:
        """Answers until the link closes; whatever the program raises is an answer."""
        while True:
            try:
                asked = self._link.receive()
            except Closed:
                return
            try:
                answer, tensors = getattr(self, f"_{asked['ask']}")(asked)
            except Refused as error:
                answer, tensors = {"refused": {"check": error.check, "evidence": str(error)}}, []
            except BaseException as error:  # noqa: BLE001  whatever a candidate raises is a value here
                answer, tensors = {"raised": describe(error)}, []
            self._link.send(answer, tensors)

    def _verify(self, _: Asked) -> Answer:
        """The verdicts, or how the examination ended; before it, each stage as it begins."""
        assert isinstance(self._work, Assignment)
        told = worker.verify(self._work, lambda stage: self._link.send({"stage": stage}))
        return {"checks" if isinstance(told, tuple) else "outcome": to_data(told)}, []

    def _audit(self, _: Asked) -> Answer:
        """Every check's verdict; before it, each stage as it begins, and the verdicts so far."""
        work, stage = self._work, "load"
        assert isinstance(work, Audit)

        def enter(name: str) -> None:
            nonlocal stage
            stage = name
            self._link.send({"stage": stage})

        def overdue(number: int, frame: types.FrameType | None) -> None:  # noqa: ARG001
            """Says where the program stands; it need not notice, and may not go on."""
            reason = f"ran out of time after {work.limit_seconds:g} s{worker.place_of(frame)}"
            self._link.send({"outcome": to_data(Crashed(stage, f"{OVERDUE}: {reason}"))})
            os._exit(0)

        signal.signal(signal.SIGALRM, overdue)
        audited = worker.audit(
            work, enter, lambda so_far: self._link.send({"so far": to_data(so_far)})
        )
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        return {"outcome": to_data(audited)}, []

    def _build(self, asked: Asked) -> Answer:
        """A mixer, drawn from a seed: its number, and its weights."""
        if self._loaded is None:
            mixer, folder = (getattr(self._work, name, None) for name in ("mixer", "folder"))
            self._loaded = load_program(self._work.source, mixer, folder)
        make = self._loaded.make

        def build() -> nn.Module:
            torch.manual_seed(asked["seed"])
            return make(asked["width"], asked["heads"])

        made = build()
        self._mixers.append(_Mixer(made, getattr(self._work, "device", "cpu"), build))
        weights = self._mixers[-1].weights
        answer = {
            "mixer": len(self._mixers) - 1,
            "weights": [[name_of(one.dtype), *one.shape] for one in weights],
            "trained": [one.requires_grad for one in made.parameters()],
            "has_loss": hasattr(made, "auxiliary_loss"),
        }
        return answer, weights

    def _forward(self, asked: Asked) -> Answer:
        """The output for an input, with these weights; and the mixer's own loss, in training."""
        mixer = self._mixers[asked["mixer"]]
        x_BTD = torch.empty(asked["shape"], dtype=getattr(torch, asked["dtype"]))
        self._link.fill([x_BTD, *mixer.take(x_BTD.dtype)])
        x_BTD = x_BTD.to(mixer.device)
        parameters = mixer.put()
        mixer.module.train(asked["train"])
        with torch.set_grad_enabled(asked["keep"]):
            x_BTD.requires_grad_(asked["keep"])
            outputs = [mixer.module(x_BTD)]
            if asked["keep"] and hasattr(mixer.module, "auxiliary_loss"):
                outputs.append(mixer.module.auxiliary_loss().squeeze())
        for one, like in zip(outputs, (x_BTD, x_BTD.new_empty(())), strict=False):
            _look_at(one, like)
        if asked["keep"]:
            trained = [one for one in parameters if one.requires_grad]
            mixer.inputs, mixer.outputs = [x_BTD, *trained], outputs
        return {}, [on_cpu(one) for one in outputs]

    def _backward(self, asked: Asked) -> Answer:
        """The gradients of input and trained weights; and which of them there are not."""
        mixer = self._mixers[asked["mixer"]]
        given = [torch.empty(one.shape, dtype=one.dtype) for one in mixer.outputs]
        self._link.fill(given)
        parts = [
            (output, slope.to(mixer.device))
            for output, slope in zip(mixer.outputs, given, strict=True)
            if output.requires_grad
        ]
        slopes: list[Tensor | None] = [None] * len(mixer.inputs)
        if parts:
            outputs, upstream = zip(*parts, strict=True)
            slopes = list(torch.autograd.grad(outputs, mixer.inputs, upstream, allow_unused=True))
        mixer.inputs, mixer.outputs = [], []
        missing = [i for i, slope in enumerate(slopes) if slope is None]
        return {"missing": missing}, [on_cpu(slope) for slope in slopes if slope is not None]

    def _record(self, asked: Asked) -> Answer:
        """A forward pass in eval mode as a tape, by a new mixer on the processor.

        Not by the one that answers: on an accelerator there are kernels that no tape can tell, and
        a mixer may keep what it has computed there.
        """
        mixer = self._mixers[asked["mixer"]]
        x_BTD = torch.empty(asked["shape"], dtype=getattr(torch, asked["dtype"]))
        weights = mixer.take(x_BTD.dtype)
        self._link.fill([x_BTD, *weights])
        recorded = mixer.build().eval()
        recorded = recorded.double() if x_BTD.dtype == torch.float64 else recorded.float()
        for parameter, weight in zip(recorded.parameters(), weights, strict=True):
            parameter.data.copy_(weight)
        try:
            told = record(recorded, x_BTD)
        except NotRecorded as error:
            raise Refused("sub-quadratic", f"its work cannot be counted: {error}") from error
        words = torch.frombuffer(bytearray(json.dumps(told.steps).encode()), dtype=torch.uint8)
        answer = {
            "words": len(words),
            "output": told.output,
            "constants": described(told.constants),
        }
        return answer, [words, *told.constants]

    def _tape(self, asked: Asked) -> Answer:
        """Takes a tape, from the process that measures; no program need be loaded for it."""
        words = torch.empty(asked["words"], dtype=torch.uint8)
        constants, weights = room_for(asked["constants"]), room_for(asked["weights"])
        self._link.fill([words, *constants, *weights])
        try:
            tape = Tape(json.loads(bytes(memory_of(words))), asked["output"], constants, weights)
        except Unknown as error:
            raise _unknown(error) from error
        self._tapes.append(tape)
        return {"tape": len(self._tapes) - 1}, []

    def _play(self, asked: Asked) -> Answer:
        """The output of a tape for an input, and the work that it was."""
        x_BTD = torch.empty(asked["shape"], dtype=getattr(torch, asked["dtype"]))
        self._link.fill([x_BTD])
        try:
            y_BTD, work = self._tapes[asked["tape"]].play(x_BTD)
        except Unknown as error:
            raise _unknown(error) from error
        _look_at(y_BTD, x_BTD)
        return {"work": {kind: getattr(work, kind) for kind in COUNTED}}, [on_cpu(y_BTD)]

    def _decode(self, asked: Asked) -> Answer:
        """The outputs token by token from a state, which comes and goes as plain tensors."""
        mixer = self._mixers[asked["mixer"]]
        x_BTD = torch.empty(asked["shape"])
        begun = room_for(asked["state"])
        self._link.fill([x_BTD, *begun, *mixer.take(x_BTD.dtype)])
        mixer.put()
        module = mixer.module.eval()
        if not (hasattr(module, "initial_state") and hasattr(module, "step")):
            return {"state": None}, []
        with torch.no_grad():
            state = module.initial_state(len(x_BTD))
            if asked["from"]:
                # The places of the tensors, and what is no tensor, follow from how many tokens
                # there were.
                for _ in range(asked["from"]):
                    _, state = module.step(torch.zeros_like(x_BTD[:, 0]).to(mixer.device), state)
                state = _with_tensors(state, [one.to(mixer.device) for one in begun])
            outputs = []
            for x_BD in x_BTD.to(mixer.device).unbind(1):
                y_BD, state = module.step(x_BD, state)
                outputs.append(y_BD)
        ended = [on_cpu(one) for one in tree_leaves(state) if isinstance(one, Tensor)]
        y_BTD = on_cpu(torch.stack(outputs, dim=1))
        _look_at(y_BTD, x_BTD)
        return {"state": described(ended)}, [y_BTD, *ended]


def _look_at(y_BTD: Tensor, x_BTD: Tensor) -> None:
    if y_BTD.shape != x_BTD.shape or y_BTD.dtype != x_BTD.dtype:
        told = f"{tuple(y_BTD.shape)} in {y_BTD.dtype} for {tuple(x_BTD.shape)} in {x_BTD.dtype}"
        raise ValueError(f"the mixer returned {told}")


def _unknown(error: Unknown) -> Refused:
    return Refused("sub-quadratic", f"the cost of {error} is not known")


def _with_tensors(state: Any, tensors: list[Tensor]) -> Any:
    """Returns the state with other tensors in the places of its own."""
    leaves, places = tree_flatten(state)
    others = iter(tensors)
    filled = [next(others) if isinstance(one, Tensor) else one for one in leaves]
    if next(others, None) is not None:
        raise ValueError("the state has another number of tensors than after as many tokens before")
    return tree_unflatten(filled, places)
