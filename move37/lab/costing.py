"""What the scored function costs: counted where no candidate's code runs.

Work: each mixer is recorded as a tape on a training sequence, by a process that has seen no other.
The model around the tapes has to say of scored sequences what was scored; its operators are
counted.
State: that training sequence is decoded half by one process, and half by another, which never saw
it and is given the state. It has to give what the tapes give; the state's bytes are counted as they
pass.

Covered: a program that tells too little of its work or its state. What it tells less, its outputs
lack.
Not covered: work in training; other lengths than the scored one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from move37.lab.link import hash_of
from move37.lab.remote import Begun, Mixers, RemoteMixer
from move37.lab.tape import TapedMixer, Unknown
from move37.lab.words import Garbled
from move37.nn.counting import work_of
from move37.nn.language_model import Block, LanguageModel
from move37.records import CheckResult, TaskBudget
from move37.tasks import task
from move37.tasks.task import Batch
from move37.train.trainer import build, total

# Of the largest logit: a batch is computed in another order than one of its rows alone.
PLAYED_TOLERANCE = 1e-3
# A recurrence rounds otherwise than the same in chunks, and more so with trained weights.
DECODED_TOLERANCE = 1e-2


class Cheaper(Exception):
    """The program tells of less work, or of less state, than its outputs take."""

    def __init__(self, check: str, told: str) -> None:
        super().__init__(told)
        self.check = CheckResult(check, "failed", told)


class Taped(NamedTuple):
    """A model whose mixers are tapes, and the training sequence on which they were recorded."""

    model: LanguageModel
    mixers: list[TapedMixer]
    seen_1T: Tensor


class Layer(NamedTuple):
    """What a mixer computes for a sequence, and how far one process has decoded it."""

    x_1TD: Tensor
    y_1TD: Tensor
    begun: Begun | None  # None: decoding is not offered


@torch.no_grad()
def taped(mixers: Mixers, model: LanguageModel, budget: TaskBudget, seed: int) -> Taped:
    """Returns the model as it is told by a process that has not seen a scored sequence yet.

    Raises Cheaper for operators of unknown cost.
    """
    batches = task(budget.task).train(seed=seed, batch=budget.batch, length=budget.length)
    seen_1T = next(batches).inputs_BT[:1]
    own = _mixers(model)
    try:
        tapes = [
            mixers.taped(mixer, x_1TD)
            for mixer, x_1TD in zip(own, _inputs(model, own, seen_1T), strict=True)
        ]
    except Unknown as error:
        raise Cheaper("sub-quadratic", f"the cost of {error} is not known") from None
    due = iter(tapes)
    around = build(lambda width, heads: next(due), budget, seed=seed)
    around.load_state_dict({name: x.cpu() for name, x in model.state_dict().items()})
    return Taped(around.eval(), tapes, seen_1T)


@torch.no_grad()
def flops_per_token(
    what: Taped, budget: TaskBudget, held_out: Sequence[Batch], said: Sequence[Tensor]
) -> float:
    """Returns the work of the tapes, which have to give the logits that were scored.

    Raises Cheaper if they give others, and Garbled if they cannot even be played as recorded.
    """
    flops = work_of(what.model, what.seen_1T) / budget.length
    # Rows that nobody knows before the tapes are told.
    rng = torch.Generator().manual_seed(hash_of(said))
    for batch, said_BTC in zip(held_out, said, strict=True):
        row = int(torch.randint(len(said_BTC), (), generator=rng))
        try:
            played_1TC = what.model(batch.inputs_BT[row, None])
        except Garbled:  # sizes of its own that the values of another sequence decide
            told = "no outputs"
        else:
            gap = (played_1TC - said_BTC[row]).abs().amax() / said_BTC.abs().amax().clamp(min=1)
            told = "" if gap <= PLAYED_TOLERANCE else f"outputs that differ by {gap:.1e}"
        if told:
            raise Cheaper(
                "sub-quadratic",
                f"trained on {budget.task}, its work cannot be counted: the operators that it ran "
                f"for one sequence give, for another, {told}; which ones run, and on which sizes, "
                "has to depend on the length only",
            )
    return flops


@torch.no_grad()
def half_decoded(
    mixers: Mixers, model: LanguageModel, budget: TaskBudget, what: Taped
) -> list[Layer]:
    """Returns the layers after half of a sequence, token by token; raises Cheaper as below."""
    half, layers = budget.length // 2, []
    found = _inputs(what.model, what.mixers, what.seen_1T)
    for mixer, tape, x_1TD in zip(_mixers(model), what.mixers, found, strict=True):
        y_1TD = tape(x_1TD.clone())
        decoded = mixers.decoded(mixer, x_1TD[:, :half])
        if decoded:
            _compare(decoded[0], y_1TD[:, :half], budget)
        begun = Begun(half, decoded[1]) if decoded else None
        layers.append(Layer(x_1TD, y_1TD, begun))
    return layers


@torch.no_grad()
def state_bytes(
    mixers: Mixers, model: LanguageModel, budget: TaskBudget, layers: Sequence[Layer]
) -> int | None:
    """Returns the bytes of the states of one sequence, decoded to its end by another process.

    None: one of the mixers does not offer to decode. Raises Cheaper if the outputs are others.
    """
    sizes: list[int | None] = []
    for mixer, layer in zip(_mixers(model), layers, strict=True):
        if layer.begun is None:
            sizes.append(None)
            continue
        half = layer.begun.tokens
        decoded = mixers.decoded(mixer, layer.x_1TD[:, half:], layer.begun)
        if decoded is None:
            raise Cheaper("decoding", "another process does not offer it")
        y_BTD, state = decoded
        _compare(y_BTD, layer.y_1TD[:, half:], budget)
        sizes.append(max(_bytes(layer.begun.state), _bytes(state)))
    return total(sizes)


def _compare(y_BTD: Tensor, expected_BTD: Tensor, budget: TaskBudget) -> None:
    gap = ((y_BTD - expected_BTD).abs().amax() / expected_BTD.abs().amax().clamp(min=1)).item()
    if not gap <= DECODED_TOLERANCE:
        raise Cheaper(
            "decoding",
            f"trained on {budget.task}, the outputs token by token move by {gap:.1e}, the second "
            "half decoded by a process that is given the state",
        )


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(one.numel() * one.element_size() for one in tensors)


def _mixers(model: LanguageModel) -> list[RemoteMixer]:
    found = [block.mixer for block in model.blocks if isinstance(block, Block)]
    return [one for one in found if isinstance(one, RemoteMixer)]


def _inputs(model: LanguageModel, mixers: Sequence[nn.Module], tokens_1T: Tensor) -> list[Tensor]:
    """Returns what each mixer is given for these tokens, in the processor's memory."""
    found: list[Tensor] = []
    hooks = [
        mixer.register_forward_pre_hook(lambda _, given: found.append(given[0].cpu().clone()))
        for mixer in mixers
    ]
    model(tokens_1T.to(model.embedding.weight.device))
    for hook in hooks:
        hook.remove()
    return found
