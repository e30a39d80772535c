"""State tracking: is the lamp on?

Parity with resets. Plain parity is what a recurrence with eigenvalues in (0, 1) cannot learn
(Grazzi et al. arXiv:2411.12537); the resets let every mixer learn a part of it, so that the task
tells all of them apart.
"""

import torch

from move37.tasks.task import Batch, Synthetic

KEEP, TOGGLE, OFF, ON = range(4)
RESETS = 0.1  # share of OFF and ON; with more, runs between them get so short that all learn them


class StateTracking(Synthetic):
    """A lamp is toggled, left alone, or now and then switched off or on.

    inputs   toggle  keep  toggle  on  toggle  ..
    targets    1      1      0     1     0     ..        every position is scored

    The lamp is off at the start.
    """

    name = "state tracking"
    vocabulary = 4

    def draw(self, rng: torch.Generator, batch: int, length: int) -> Batch:
        side_BT = torch.randint(2, (batch, length), generator=rng)
        resets_BT = torch.rand(batch, length, generator=rng) < RESETS
        moves_BT = torch.where(resets_BT, OFF + side_BT, KEEP + side_BT)
        # Toggles since the last reset, plus where that reset left the lamp, decide its state.
        toggles_BT = (moves_BT == TOGGLE).cumsum(dim=1)
        place_BT = torch.where(resets_BT, torch.arange(length), -1).cummax(dim=1).values
        reset_BT, at_BT = place_BT >= 0, place_BT.clamp(min=0)
        base_BT = torch.where(reset_BT, moves_BT.gather(1, at_BT) - OFF, 0)
        since_BT = toggles_BT - torch.where(reset_BT, toggles_BT.gather(1, at_BT), 0)
        return Batch(moves_BT, (base_BT + since_BT) % 2)
