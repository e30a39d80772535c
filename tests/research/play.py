"""A team of language models that asks a scripted server, and what came of it."""

import random
from collections.abc import Sequence

from move37.presets import SMOKE
from move37.records import Call, Fallback, Judgement
from move37.research.client import Client
from move37.research.ledger import Ledger
from move37.research.models import Access, parse_model
from move37.research.team import Team
from tests.research.server import Server, Step, answer

SIZE = SMOKE.budgets[0].model


def program(number: int, *, leaks: bool = False) -> str:
    """A mixer; FakeLab refuses one with the word FAIL in it."""
    return f'''"""A mixer."""

from torch import Tensor, nn


class Mixer{number}(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        note = "{"FAIL" if leaks else "fine"}"
        return self.project(x_BTD) * {number}
'''


def proposed(number: int, *, leaks: bool = False) -> str:
    """What a researcher answers."""
    return (
        f"Name: Mixer{number}\nMotivation: It scales by {number}.\n\n"
        f"```python\n{program(number, leaks=leaks)}```\n"
    )


def told(number: int, *, leaks: bool = False) -> Step:
    return answer(proposed(number, leaks=leaks))


class Kept:
    """Notes in a list each."""

    def __init__(self) -> None:
        self._judgements: list[Judgement] = []
        self._fallbacks: list[Fallback] = []

    def append_judgement(self, judgement: Judgement) -> None:
        self._judgements.append(judgement)

    def append_fallback(self, fallback: Fallback) -> None:
        self._fallbacks.append(fallback)

    def judgements(self) -> list[Judgement]:
        return self._judgements

    def fallbacks(self) -> list[Fallback]:
        return self._fallbacks


class Play:
    """A team that asks a scripted server, and what came of it."""

    def __init__(self, server: Server, *, roles: Sequence[str] = (), **limits: float) -> None:
        self.server, self.calls, self.kept = server, list[Call](), Kept()
        played = "+".join(["researcher", "engineer", *roles])
        self.spec = parse_model(f"{server.url}#scripted,input=1,output=2,roles={played}")
        ledger = Ledger(keep=self.calls.append, **limits)  # type: ignore[arg-type]
        access = Access.read([self.spec], {"OPENAI_API_KEY": "sk-very-secret"})
        self.client = Client(access, ledger, dice=random.Random(0), sleep=lambda seconds: None)
        self.team = Team(self.client, [self.spec], SIZE, notes=self.kept)
