"""Is it a function of its input and its parameters, and of nothing else?

Shape letters: B batch, T time, D model width.
"""

import copy
import functools
import io
import os
import pickle
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from move37.nn.interop.adapter import FlaMixer
from move37.nn.language_model import MixerFactory
from move37.records import CheckResult
from move37.verify.subject import Subject, failed, in_short, moved, passed, run, set_dice

CALLS = 100  # between two identical ones, at the full level
# A restored mixer repeats the same operators; only the order of threads may differ.
RESTORED_TOLERANCE = 1e-6
RECORDED = "whether gradients are recorded"
PRECISION = "the precision of matrix products"
# What these hold is not the program's: one of its globals may have the same name.
LIBRARIES = ("torch", "builtins", "einops", "move37", "fla")
MOST_SHOWN = 10_000  # numbers of a tensor that are compared one by one
# What modules keep for themselves.
_OWN = frozenset(vars(nn.Module()))
# What FlaMixer notes of its last calls; of a program's module such a name means nothing.
_OF_THE_ADAPTER = frozenset({"leaves_casts_out", "drops_of_the_graph"})


@torch.no_grad()
def check_repeatable(subject: Subject) -> CheckResult:
    """A second call gives the identical result, whatever was called in between.

    Nothing is left behind: no parameter, no buffer, no counter, and nothing global; the input is
    as it was. A cache that is filled once is reported.
    """
    mixer = subject.build().eval()
    rng = subject.dice()
    x_BTD = torch.randn(2, 33, subject.width, generator=rng)
    other_BTD = torch.randn(3, 50, subject.width, generator=rng)
    before = {name: value.clone() for name, value in mixer.state_dict().items()}
    if changed := _set_for_all(subject, x_BTD):
        return failed("repeatable", changed)
    empty = dict(_kept(mixer))
    first_BTD = _output(mixer, x_BTD)
    between = [("an identical call", x_BTD, 1), ("a call of another length", other_BTD, 1)]
    if subject.thorough:
        between.append((f"{CALLS} calls", other_BTD, CALLS))
    for what, input_BTD, calls in between:
        for _ in range(calls):
            run(mixer, input_BTD)
        again = moved(_output(mixer, x_BTD), first_BTD)
        if not again == 0:
            return failed("repeatable", f"after {what} the same input gives {again:.1e} elsewhere")
    set_dice(1)
    torch.rand(5)  # a place that no seed gives
    dice = torch.random.get_rng_state()
    mixer(x_BTD.clone())
    if not torch.equal(dice, torch.random.get_rng_state()):
        return failed("repeatable", "a forward in eval mode draws from the global generator")
    for name, value in mixer.state_dict().items():
        if name not in before or not torch.equal(before[name], value):
            return failed("repeatable", f"a forward in eval mode changes {name} in the state dict")
    last = dict(_kept(mixer))
    run(mixer, x_BTD)
    changed = _changed(mixer, last)
    if changed:
        return failed("repeatable", f"{changed} changes at every call")
    mixer.train()
    before_last: dict[str, object] = {}
    for _ in range(CALLS if subject.thorough else 3):
        before_last = dict(_kept(mixer))
        _learn(mixer, x_BTD)
    changed = _changed(mixer, before_last)
    if changed:
        return failed("repeatable", f"{changed} changes at every call in train mode")
    again = moved(_output(mixer.eval(), x_BTD), first_BTD)
    if not again == 0:
        return failed("repeatable", f"calls in train mode move later outputs by {again:.1e}")
    for name, value in mixer.state_dict().items():
        if not torch.equal(before[name], value):
            return failed("repeatable", f"a forward in train mode changes {name}")
    for mode in ("eval", "train"):
        if _changes_its_input(mixer.train(mode == "train"), x_BTD):
            return failed("repeatable", f"forward changes its input in place ({mode} mode)")
    filled = sorted(name for name, value in last.items() if empty.get(name) != value)
    told = "the same input gives the same output, also after other calls"
    return passed("repeatable", told + (f"; keeps {', '.join(filled)[:200]}" if filled else ""))


@torch.no_grad()
def is_changed_by_calls(subject: Subject) -> bool:
    """Returns True if a mixer gives other outputs, or holds other things, after it was called.

    What compares two calls of such a mixer finds differences that are not those it looks for.
    """
    mixer = subject.build().eval()
    x_BTD = torch.randn(2, 33, subject.width, generator=subject.dice())
    first_BTD = _output(mixer, x_BTD)  # a cache is filled with it
    numbers = {name: value.clone() for name, value in mixer.state_dict().items()}
    before = dict(_kept(mixer))
    calls = CALLS if subject.thorough else 3
    other_BTD = torch.randn(3, 50, subject.width, generator=subject.dice(1))
    try:
        for _ in range(calls):
            _learn(mixer.train(), x_BTD)
            run(mixer.eval(), x_BTD)
        for between_BTD in (other_BTD, other_BTD[:2, :33]):
            run(mixer.eval(), between_BTD)
            if moved(_output(mixer, x_BTD), first_BTD) != 0:
                return True
    except Exception:  # noqa: BLE001  the first call did not raise
        return True
    if _changed(mixer, before):
        return True
    return any(not torch.equal(numbers[name], value) for name, value in mixer.state_dict().items())


class _FromOneState(nn.Module):
    """A mixer of which every call is the first: each is made of a copy that is thrown away.

    So two calls can be compared although the mixer counts them in itself. What it keeps elsewhere,
    in a global or in a class, is shared by the copies.
    """

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer = mixer
        for name in ("forward", "initial_state", "step"):
            if hasattr(mixer, name):
                setattr(self, name, self._of_a_copy(name))

    def __getattr__(self, name: str) -> Any:
        """Returns what the mixer has beside: its layer, say, by which its cache is known."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("mixer"), name)

    def _of_a_copy(self, name: str) -> Callable[..., Any]:
        @functools.wraps(getattr(self.mixer, name))  # the signature says what a mixer offers
        def call(*args: Any, **kwargs: Any) -> Any:
            twin = copy.deepcopy(self.mixer)
            return (twin if name == "forward" else getattr(twin, name))(*args, **kwargs)

        return call


def from_one_state(subject: Subject) -> Subject | None:
    """Returns the subject with mixers that start each call from the same state.

    None where that is not possible: a mixer that cannot be copied, or keeps what it changes
    outside of itself.
    """

    def anew(make: MixerFactory) -> MixerFactory:
        return lambda width, heads: _FromOneState(make(width, heads))

    variants = {what: anew(make) for what, make in subject.variants.items()}
    found = replace(subject, make=anew(subject.make), variants=variants)
    try:
        changed = is_changed_by_calls(found)
    except Exception:  # noqa: BLE001  whatever a program raises when it is copied
        return None
    return None if changed else found


@torch.enable_grad()
def _set_for_all(subject: Subject, x_BTD: Tensor) -> str | None:
    """Says what a forward sets for everyone else, if anything: used, or trained, or both."""
    mixer = subject.build()
    for mode, gradients in (("eval", False), ("eval", True), ("train", True)):
        mixer.train(mode == "train")
        before, after = settings(), {}
        with torch.set_grad_enabled(gradients):
            before |= {RECORDED: gradients}
            set_dice(0)
            mixer(x_BTD.clone())  # `run` would set back what it changes
            after = settings()
        for name, value in after.items():
            if before[name] != value:
                restore(settings() | before | {RECORDED: True})
                return f"a forward in {mode} mode changes {name}"
    # Dice may be drawn in train mode; but from wherever they are.
    states = []
    for seed in (1, 2):
        set_dice(seed)
        mixer(x_BTD.clone())
        states.append(torch.random.get_rng_state())
    if torch.equal(*states):
        return "a forward in train mode sets the global generator"
    return None


def _changes_its_input(mixer: nn.Module, x_BTD: Tensor) -> bool:
    given_BTD = x_BTD.clone()
    set_dice(0)
    with torch.set_grad_enabled(mixer.training):
        mixer(given_BTD)
    return not torch.equal(given_BTD, x_BTD)


@torch.enable_grad()
def _learn(mixer: nn.Module, x_BTD: Tensor) -> None:
    """One forward and backward pass, as in training."""
    y_BTD = run(mixer, x_BTD)
    if y_BTD.requires_grad:
        y_BTD.sum().backward()
    mixer.zero_grad()


def _changed(mixer: nn.Module, before: dict[str, object]) -> str | None:
    """Returns the name of something that the mixer keeps and that is not as it was."""
    now = _kept(mixer)
    return next((name for name, value in now if before.get(name, value) != value), None)


def _output(mixer: nn.Module, x_BTD: Tensor) -> Tensor:
    """Returns the output with numbers only: whether it is finite is another check."""
    return run(mixer, x_BTD).nan_to_num()


def check_restorable(subject: Subject) -> CheckResult:
    """State dict, deep copy and pickle give the same function, also after it was used."""
    mixer = subject.build(1)
    rng = subject.dice()
    x_BTD = torch.randn(2, 33, subject.width, generator=rng)
    with torch.no_grad():
        for parameter in mixer.parameters():
            if parameter.is_floating_point():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    _learn(mixer.train(), x_BTD)
    ways: dict[str, nn.Module] = {}
    # A loss of its own is kept until the trainer reads it.
    keeps_a_loss = hasattr(mixer, "auxiliary_loss")
    if keeps_a_loss:
        with torch.no_grad():
            run(mixer.eval(), x_BTD)
    for when in ("a forward",) if keeps_a_loss else ("a training step", "a forward"):
        for way, duplicate in (("deep copy", copy.deepcopy), ("pickle", _pickled)):
            try:
                ways[f"its {way} after {when}"] = duplicate(mixer)
            except BaseException as error:  # noqa: BLE001  whatever copying raises is the evidence
                return failed("restorable", f"{way} after {when} raises {in_short(error)}")
        with torch.no_grad():  # which may overwrite what a training step has kept
            expected_BTD = run(mixer.eval(), x_BTD)
    saved = io.BytesIO()
    torch.save(mixer.state_dict(), saved)
    saved.seek(0)
    loaded = subject.build(2).eval()
    try:
        loaded.load_state_dict(torch.load(saved))
    except (RuntimeError, pickle.UnpicklingError) as error:
        return failed("restorable", f"a new mixer does not take the state dict: {in_short(error)}")
    ways["its state dict loaded into a new one"] = loaded
    with torch.no_grad():
        for way, twin in ways.items():
            gap = moved(run(twin.eval(), x_BTD), expected_BTD)
            if not gap <= RESTORED_TOLERANCE:
                return failed("restorable", f"{way} gives outputs that differ by {gap:.1e}")
    return passed("restorable", "state dict, deep copy and pickle give the same outputs")


def _pickled(mixer: nn.Module) -> nn.Module:
    result: nn.Module = pickle.loads(pickle.dumps(mixer))
    return result


def settings() -> dict[str, Any]:
    """Returns what a forward might change for everyone else."""
    return {
        "the default dtype": torch.get_default_dtype(),
        "the default device": torch.get_default_device(),
        RECORDED: torch.is_grad_enabled(),
        PRECISION: torch.get_float32_matmul_precision(),
        "whether operators are deterministic": torch.are_deterministic_algorithms_enabled(),
        "the number of threads": torch.get_num_threads(),
        "the environment": dict(os.environ),
    }


def restore(settings: dict[str, Any]) -> None:
    """Sets what `settings` told to what it was."""
    torch.set_default_dtype(settings["the default dtype"])
    if torch.get_default_device() != settings["the default device"]:
        # None, not "cpu", is how it starts: a device that is set makes every operator slower.
        device = settings["the default device"]
        torch.set_default_device(None if device.type == "cpu" else device)
    torch.set_grad_enabled(settings[RECORDED])
    torch.set_float32_matmul_precision(settings[PRECISION])
    torch.use_deterministic_algorithms(settings["whether operators are deterministic"])
    torch.set_num_threads(settings["the number of threads"])
    os.environ.clear()
    os.environ.update(settings["the environment"])


def _kept(mixer: nn.Module) -> Iterator[tuple[str, object]]:
    """Yields what the mixer keeps beside its parameters, by name, in comparable form.

    In its buffers and modules, in their classes, and in the globals of the program.
    """
    for name, buffer in mixer.named_buffers():
        yield name, _form(buffer)
    for path, module in mixer.named_modules():
        for name, value in vars(module).items():
            noted = name in _OF_THE_ADAPTER and isinstance(module, FlaMixer)
            if name not in _OWN and not noted:
                yield f"{path}.{name}".lstrip("."), _form(value)
    kinds = dict.fromkeys(type(module) for module in mixer.modules())
    own = [kind for kind in kinds if kind.__module__.split(".")[0] not in LIBRARIES]
    for number, kind in enumerate(own):
        again = any(other.__qualname__ == kind.__qualname__ for other in own[:number])
        for name, value in vars(kind).items():
            if not name.startswith("__"):
                yield f"{kind.__qualname__}{f'#{number}' * again}.{name}", _form(value)
    programs = list(dict.fromkeys(kind.__module__ for kind in own))
    for program in programs:
        module_globals = vars(sys.modules[program]) if program in sys.modules else {}
        for name, value in module_globals.items():
            if not name.startswith("__"):
                yield f"{program}.{name}" if len(programs) > 1 else name, _form(value)


def _form(value: object, depth: int = 3) -> object:
    """Returns the value such that equal contents compare equal."""
    if isinstance(value, Tensor):
        shown = value.detach()
        if shown.is_floating_point():
            shown = shown.double()
        shown = shown.cpu().resolve_conj().flatten()
        if shown.numel() > MOST_SHOWN:  # a list of them would take long
            places = torch.arange(1.0, shown.numel() + 1, dtype=torch.float64)
            shown = torch.stack([shown.sum(), (shown * places).sum()])
        return str(value.dtype), tuple(value.shape), repr(shown.tolist())
    if isinstance(value, bool | int | float | complex | str | bytes | type(None)):
        return type(value).__name__, repr(value)
    if isinstance(value, bytearray) or type(value).__module__ == "itertools":
        return type(value).__name__, repr(value)
    if depth and isinstance(value, Mapping):
        return [(repr(key)[:200], _form(item, depth - 1)) for key, item in value.items()]
    if depth and isinstance(value, Sequence | Set):  # a deque too
        return [_form(item, depth - 1) for item in value]
    if isinstance(value, types.FunctionType):  # what it keeps beside its code
        return "function", _form([vars(value), value.__defaults__, value.__kwdefaults__], depth)
    if (
        depth
        and hasattr(value, "__dict__")
        and not isinstance(value, type | types.ModuleType | nn.Module)
    ):
        return type(value).__name__, _form(vars(value), depth - 1)
    return type(value).__name__
