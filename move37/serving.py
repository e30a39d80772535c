"""The tools `brief`, `submit`, `top` and `verify` for coding agents: a server of the Model Context
Protocol over standard input and output.

What cannot be used is the answer of a tool, as an error with its sentence; the server goes on.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from move37 import __version__, agents, auditing
from move37.lab.client import Lab, LabError
from move37.presets import Preset
from move37.records import Audit, InputError, Level, Rejected, RunFailed, fields_of
from move37.search.fitness import form_of
from move37.search.leaderboard import Row, leaderboard
from move37.store.store import Store

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

MISSING = "`move37 mcp` needs the package mcp 2 or later: pip install 'move37[mcp]'"
INSTRUCTIONS = """Invents sequence mixers for language models. Ask for a `brief`, write the mixer
that it asks for, try it with `verify`, `submit` it; the answer says how it compares with published
mixers, and what to work on next. A submit trains: it takes from half a minute on, the first in an
empty store, which measures the baselines, some minutes."""


def make_server(preset: Preset, path: Path, lab: Lab) -> "MCPServer[Any]":
    """Returns the server for one store; raises InputError if the SDK is not installed."""
    try:
        from mcp.server.mcpserver import MCPServer
    except ImportError:
        raise InputError(MISSING) from None
    # Anything but errors would be noise in the agent's log.
    server = MCPServer("move37", instructions=INSTRUCTIONS, version=__version__, log_level="ERROR")

    @server.tool()
    def brief(seed: int | None = None) -> str:
        """Return the brief of the next experiment: what to write, and what is known so far.

        Another seed draws another parent and other references.
        """
        with _said():
            return agents.next_task(preset, path, seed=seed).brief

    @server.tool()
    def submit(
        program: str, motivation: str = "", name: str = "", parent: str = "", agent: str = ""
    ) -> dict[str, Any]:
        """Verify a mixer, train it beside the published ones, and return what came of it.

        program: the text of one Python file, or an answer in the form that the brief asks for.
        motivation: why it may help; left out if the answer says it. parent: the id that the brief
        names. agent: who you are, to be kept with the result.
        """
        words = agents.Words(motivation, name, parent, agent or agents.AGENT)
        with _said():
            return _result(agents.submit(preset, path, program, words, lab))

    @server.tool()
    def top(most: int = 20) -> list[dict[str, Any]]:
        """Return the leaderboard, fittest first; fitness is the gain on DeltaNet in seed noise."""
        with _said(), Store.open(path, write=False) as store:
            form = form_of(str(store.settings().get("fitness", "noise")))
            return [_shown(row) for row in leaderboard(store.records(), form)[: max(0, most)]]

    @server.tool()
    def verify(program: str, full: bool = False) -> dict[str, Any]:
        """Prove or refute what a mixer has to be: causal, sub-quadratic, trainable, and so on.

        Nothing is trained or kept. `full` takes longer and draws more.
        """
        level: Level = "full" if full else "quick"
        audit = Audit(
            program,
            None,
            auditing.checks_of(()),
            level,
            auditing.WIDTH,
            auditing.HEADS,
            auditing.LIMIT_SECONDS[level],
            auditing.LIMIT_BYTES,
        )
        with _said():
            audited = auditing.verify(audit, Path("the program"), lab)
        checks = [fields_of(check) for check in audited.checks]
        return {"mixer": audited.mixer, "passed": audited.passed, "checks": checks}

    return server


def serve(preset: Preset, path: Path, lab: Lab) -> None:
    """Serves until the agent closes our input; raises InputError if the SDK is not installed."""
    make_server(preset, path, lab).run("stdio")


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """What cannot be done is said to the agent."""
    from mcp.server.mcpserver.exceptions import ToolError

    try:
        yield
    except (InputError, RunFailed, LabError) as error:
        raise ToolError(str(error)) from None


def _result(done: agents.Submitted) -> dict[str, Any]:
    """What an agent has to know of its experiment; the rest is in the store."""
    last, lesson = done.records[-1], done.lesson
    outcome = last.outcome
    told: dict[str, Any] = {
        "experiment": last.experiment,
        "id": last.candidate.id,
        "name": last.candidate.proposal.name,
        "outcome": type(outcome).__name__.lower(),
    }
    if done.measured:
        rows = leaderboard(done.everything, done.form)
        place = next(n for n, row in enumerate(rows) if row.id == last.candidate.id)
        told |= {"rank": place + 1, "of": len(rows)} | _shown(rows[place])
    elif isinstance(outcome, Rejected):
        told |= {"check": outcome.check, "evidence": outcome.evidence}
    else:
        told |= {"stage": getattr(outcome, "stage", ""), "error": getattr(outcome, "error", "")}
    return told | {"lesson": lesson.text, "next": lesson.weakness}


def _shown(row: Row) -> dict[str, Any]:
    kept = ("name", "id", "experiment", "origin", "fitness", "interval", "verdict", "scores")
    told = fields_of(row)
    return {key: told[key] for key in kept}
