"""A play, ended with its test."""

from collections.abc import Callable, Iterator

import pytest

from tests.research.play import Play
from tests.research.server import Server, Step


@pytest.fixture
def play() -> Iterator[Callable[..., Play]]:
    servers: list[Server] = []

    def start(*steps: Step, **options: object) -> Play:
        servers.append(Server(*steps).__enter__())
        return Play(servers[-1], **options)  # type: ignore[arg-type]

    yield start
    for server in servers:
        server.__exit__(None, None, None)
