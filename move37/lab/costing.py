"""What is scored, and what it costs: told by the candidate's process, played and counted elsewhere.

Work: each mixer is recorded as a tape on training sequences, by a process that has seen no others.
The tapes are played in a process that has not loaded the program, within the model that is here;
what they say of the held-out sequences is what is scored, and their operators are counted.
State: a sequence that nobody could know is decoded by three processes, one after the other, each
given the state only. It has to give what the tapes give; the bytes are counted as they pass.

Covered: a program that tells too little of its work or its state: its score is that of what it
tells.
Not covered: work in training; other lengths than the scored one; states that are told less exactly
than DECODED_TOLERANCE, in half precision for one; operators that ruin the process in which they are
played, if the static gate lets a program tell such.

Shape letters: B batch, T time, D model width, C vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from move37.lab.link import COUNTED
from move37.lab.remote import Begun, Mixers, PlayedMixer, Player, Refused, RemoteMixer, not_played
from move37.nn.counting import Work, bytes_of, work_of
from move37.nn.language_model import Block, LanguageModel
from move37.records import TaskBudget
from move37.tasks import task
from move37.train.trainer import build, example, total

# Of the largest logit, between a tape and its program.
PLAYED_TOLERANCE = 1e-3
# Of an output's size: a recurrence rounds otherwise than the same in chunks, with trained weights.
DECODED_TOLERANCE = 1e-2


class Played(NamedTuple):
    """A model whose mixers are tapes."""

    model: LanguageModel
    mixers: list[PlayedMixer]

    def flops_per_token(self, budget: TaskBudget) -> float:
        """Returns the work of one forward pass: the most that the tapes have taken so far."""
        tokens_BT = example(budget, "cpu")
        work = work_of(self.model, tokens_BT) + sum(mixer.most_work for mixer in self.mixers)
        return work / tokens_BT.numel()

    def again(self, player: Player, budget: TaskBudget, seed: int) -> "Played":
        """Returns the same model, with the same tapes played in another process."""
        return _around([mixer.again(player) for mixer in self.mixers], self.model, budget, seed)

    @torch.no_grad()
    def play(self, tokens_BT: Tensor) -> tuple[Tensor, Work]:
        """Returns logits (B, T, C), and the work of all mixers together."""
        logits_BTC, total = self.model(tokens_BT), Work()
        for mixer in self.mixers:
            for kind in COUNTED:
                getattr(total, kind).update(getattr(mixer.work, kind))
        return logits_BTC, total


@torch.no_grad()
def played(
    mixers: Mixers, model: LanguageModel, player: Player, budget: TaskBudget, seed: int
) -> Played:
    """Returns the model as its process tells it, recorded on training sequences.

    Raises Refused for operators of unknown cost.
    """
    tapes = [PlayedMixer(mixers, mixer, player, {}) for mixer in _mixers(model)]
    around = _around(tapes, model, budget, seed)
    batches = task(budget.task).train(seed=seed, batch=budget.batch, length=budget.length)
    around.model(next(batches).inputs_BT)
    return around


def _around(
    tapes: list[PlayedMixer], model: LanguageModel, budget: TaskBudget, seed: int
) -> Played:
    due = iter(tapes)
    around = build(lambda width, heads: next(due), budget, seed=seed)
    around.load_state_dict({name: x.cpu() for name, x in model.state_dict().items()})
    return Played(around.eval(), tapes)


@torch.no_grad()
def logits(what: Played, model: LanguageModel, batches: Sequence[Tensor]) -> list[Tensor]:
    """Returns what the tapes say (B, T, C) of batches of tokens (B, T).

    Raises Refused if the model says something else of the first.
    """
    device = model.embedding.weight.device
    expected_BTC = model(batches[0].to(device)).cpu()
    said = [what.model(tokens_BT) for tokens_BT in batches]
    gap_BTC = (said[0] - expected_BTC).abs() / expected_BTC.abs().amax().clamp(min=1)
    if not gap_BTC.max() <= PLAYED_TOLERANCE:
        raise not_played(f"outputs that differ by {gap_BTC.max():.1e}")
    return said


class Layer(NamedTuple):
    """What a mixer computes for a sequence, and how far it is decoded."""

    x_1TD: Tensor
    y_1TD: Tensor
    begun: Begun | None  # None: decoding is not offered
    state_bytes: int = 0  # of the largest state so far


@torch.no_grad()
def layers(what: Played, budget: TaskBudget, seed: int) -> list[Layer]:
    """Returns what the mixers compute for a sequence that is drawn from a seed, not yet decoded."""
    batches = task(budget.task).train(seed=seed, batch=budget.batch, length=budget.length)
    found = _calls(what.model, what.mixers, next(batches).inputs_BT)
    return [Layer(x_BTD[:1], y_BTD[:1], Begun(0, [])) for x_BTD, y_BTD in found]


@torch.no_grad()
def decoded(
    mixers: Mixers, model: LanguageModel, before: Sequence[Layer], until: int
) -> list[Layer]:
    """Returns the layers further decoded, token by token; raises Refused for other outputs."""
    found = []
    for mixer, layer in zip(_mixers(model), before, strict=True):
        begun = _decoded(mixers, mixer, layer, until)
        # The last state of all is handed to nobody: it may be told smaller than it is.
        most = max(layer.state_bytes, bytes_of(begun.state) if begun else 0)
        found.append(layer._replace(begun=begun, state_bytes=most))
    return found


def _decoded(mixers: Mixers, mixer: RemoteMixer, layer: Layer, until: int) -> Begun | None:
    if layer.begun is None:
        return None
    since = layer.begun.tokens
    told = mixers.decoded(mixer, layer.x_1TD[:, since:until], layer.begun)
    if told is None:
        return None
    y_1TD, expected_1TD = told[0], layer.y_1TD[:, since:until]
    # Of each output by itself; one that is all but zero is compared with the usual size.
    sizes_1T = expected_1TD.abs().amax(dim=-1)
    sizes_1T = sizes_1T.clamp(min=layer.y_1TD.abs().amax(dim=-1).median())
    gap_1T = (y_1TD - expected_1TD).abs().amax(dim=-1) / sizes_1T.clamp(min=1e-6)
    if not gap_1T.max() <= DECODED_TOLERANCE:
        told_of = f", from a state of {bytes_of(layer.begun.state):,} bytes," if since else ""
        raise Refused(
            "decoding",
            f"with trained weights{told_of} the outputs token by token move by {gap_1T.max():.1e}",
        )
    return Begun(until, told[1])


def state_bytes(found: Sequence[Layer]) -> int | None:
    """Returns the bytes of the states of one sequence; None if a mixer does not offer to decode."""
    return total([None if one.begun is None else one.state_bytes for one in found])


def _mixers(model: LanguageModel) -> list[RemoteMixer]:
    found = [block.mixer for block in model.blocks if isinstance(block, Block)]
    return [one for one in found if isinstance(one, RemoteMixer)]


def _calls(
    model: LanguageModel, mixers: Sequence[nn.Module], tokens_BT: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Returns each mixer's input and output for these tokens, in the processor's memory."""
    found: list[tuple[Tensor, Tensor]] = []
    hooks = [
        mixer.register_forward_hook(
            lambda _, given, y_BTD: found.append((given[0].cpu(), y_BTD.cpu()))
        )
        for mixer in mixers
    ]
    model(tokens_BT.to(model.embedding.weight.device))
    for hook in hooks:
        hook.remove()
    return found
