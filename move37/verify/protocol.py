"""What a mixer offers beyond `forward`: documents and decoding. Not offered is no failure.

Shape letters: B batch, T time, D model width.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from move37.records import CheckResult
from move37.verify.subject import (
    TOLERANCE,
    Subject,
    failed,
    moved,
    not_offered,
    offers_decoding,
    offers_documents,
    passed,
    run,
)

LENGTH = 67
BORDERS = (5, 6, 40)  # a document of one token among them


@torch.no_grad()
def check_documents(subject: Subject) -> CheckResult:
    """Documents packed into one row give what they give apart."""
    mixer, x_1TD = subject.random(0, LENGTH)
    if not offers_documents(mixer):
        return not_offered("documents", "argument documents_BT in its forward")
    places_T = torch.arange(LENGTH)
    documents_1T = torch.bucketize(places_T, torch.tensor(BORDERS), right=True)[None]
    packed_1TD = run(mixer, x_1TD, documents_1T)
    edges = [0, *BORDERS, LENGTH]
    for start, end in pairwise(edges):
        gap = moved(packed_1TD[:, start:end], run(mixer, x_1TD[:, start:end]))
        if not gap <= TOLERANCE:
            told = f"the document at {start}..{end - 1} moves by {gap:.1e} when packed with others"
            return failed("documents", told)
    return passed("documents", f"{len(edges) - 1} packed documents equal the documents apart")


@torch.no_grad()
def check_decoding(subject: Subject) -> CheckResult:
    """Token by token gives what all at once gives."""
    mixer, x_1TD = subject.random(0, LENGTH)
    if not offers_decoding(mixer):
        return not_offered("decoding", "initial_state and step")
    x_BTD = torch.cat([x_1TD, x_1TD.flip(1)])
    whole_BTD = run(mixer, x_BTD)
    decoder: Any = mixer
    # Two sequences side by side, the second one token behind: what a mixer keeps in itself
    # instead of in the state that it returns gets mixed up.
    states = [decoder.initial_state(2), decoder.initial_state(2)]
    outputs: list[list[Tensor]] = [[], []]
    for t in range(LENGTH + 1):
        for i, place in enumerate((t, t - 1)):
            if 0 <= place < LENGTH:
                x_BD = x_BTD[:, place] if i == 0 else x_BTD[:, place].flip(0)
                y_BD, states[i] = decoder.step(x_BD, states[i])
                outputs[i].append(y_BD)
    first_BTD, second_BTD = (torch.stack(one, dim=1) for one in outputs)
    gap = moved(first_BTD, whole_BTD)
    if not gap <= TOLERANCE:
        return failed("decoding", f"token by token the outputs move by {gap:.1e}")
    gap = moved(second_BTD, whole_BTD.flip(0))
    if not gap <= TOLERANCE:
        return failed("decoding", f"two sequences decoded side by side move by {gap:.1e}")
    return passed("decoding", f"{LENGTH} steps equal one forward, also two at a time")
