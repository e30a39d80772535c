"""What a mixer offers beyond `forward`: documents and decoding. Not offered is no failure.

Shape letters: B batch, T time, D model width.
"""

from itertools import pairwise

import torch

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
    state = mixer.initial_state(2)  # type: ignore[operator]
    outputs = []
    for t in range(LENGTH):
        y_BD, state = mixer.step(x_BTD[:, t], state)  # type: ignore[operator]
        outputs.append(y_BD)
    gap = moved(torch.stack(outputs, dim=1), whole_BTD)
    if not gap <= TOLERANCE:
        return failed("decoding", f"token by token the outputs move by {gap:.1e}")
    return passed("decoding", f"{LENGTH} steps equal one forward")
