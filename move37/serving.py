"""The tools `brief`, `submit`, `top` and `verify` for coding agents: a server of the Model Context
Protocol over standard input and output.

What cannot be used is the answer of a tool, as an error with its sentence; the server goes on.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from move37 import __version__, agents, auditing
from move37.lab.client import Lab, LabError
from move37.presets import Preset
from move37.records import Audit, InputError, Level, Rejected, RunFailed, fields_of
from move37.search.fitness import form_of
from move37.search.leaderboard import Row, leaderboard
from move37.store.store import Store

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context, MCPServer

MISSING = "`move37 mcp` needs the package mcp 2 or later: pip install 'move37[mcp]'"
INSTRUCTIONS = """Invents sequence mixers for language models. Ask for a `brief`, write the mixer
that it asks for, try it with `verify`, `submit` it; the answer says how it compares with published
mixers, and what to work on next. A submit trains: it takes from half a minute on, the first in an
empty store, which measures the baselines, some minutes."""


def make_server(preset: Preset, path: Path, lab: Lab) -> "MCPServer[Any]":
    """Returns the server for one store; raises InputError if the SDK is not installed."""
    try:
        from mcp.server.mcpserver import Context
    except ImportError:
        raise InputError(MISSING) from None
    from pydantic import Field

    # Anything but errors would be noise in the agent's log.
    server = _server_class()(
        "move37", instructions=INSTRUCTIONS, version=__version__, log_level="ERROR"
    )

    @server.tool()
    def brief(
        seed: Annotated[
            int | None,
            Field(ge=0, description="Draws parent and references; else the store's seed does."),
        ] = None,
    ) -> str:
        """Return the brief of the next experiment: what to write, and what is known so far."""
        with _said():
            return agents.next_task(preset, path, seed=seed).brief

    @server.tool()
    def submit(
        program: Annotated[
            str,
            Field(description="The text of one Python file, or an answer in the brief's form."),
        ],
        motivation: Annotated[
            str, Field(description="Why it may help; left out if the answer says it.")
        ] = "",
        name: Annotated[str, Field(description="Its name; else the answer's or class's.")] = "",
        parent: Annotated[
            str, Field(description="What it descends from: the id that the brief names.")
        ] = "",
        agent: Annotated[str, Field(description="Who you are, to be kept with the result.")] = "",
        *,
        context: Context[Any, Any],
    ) -> dict[str, Any]:
        """Verify a mixer, train it beside the published ones, and return what came of it."""
        words = agents.Words(motivation, name, parent, agent or agents.AGENT)
        tell = _teller(context)
        with _said():
            done = agents.submit(
                preset,
                path,
                program,
                words,
                lab,
                lambda experiment, mixer, stage: tell(f"{mixer}: {stage}" if mixer else stage),
            )
            return _result(done)

    @server.tool()
    def top(
        most: Annotated[int, Field(ge=1, description="How many rows to return at most.")] = 20,
    ) -> list[dict[str, Any]]:
        """Return the leaderboard, fittest first; fitness is the gain on DeltaNet in seed noise."""
        with _said(), Store.open(path, write=False) as store:
            form = form_of(str(store.settings().get("fitness", "noise")))
            return [_shown(row) for row in leaderboard(store.records(), form)[:most]]

    @server.tool()
    def verify(
        program: Annotated[str, Field(description="The text of one Python file.")],
        full: Annotated[
            bool, Field(description="Draw more: ten minutes at most, instead of two.")
        ] = False,
        *,
        context: Context[Any, Any],
    ) -> dict[str, Any]:
        """Prove or refute that a mixer is causal, sub-quadratic, trainable, ...; keep nothing."""
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
            audited = auditing.verify(audit, None, lab, _teller(context))
        checks = [fields_of(check) for check in audited.checks]
        return {"mixer": audited.mixer, "passed": audited.passed, "checks": checks}

    return server


def serve(preset: Preset, path: Path, lab: Lab) -> None:
    """Serves until the agent closes our input; raises InputError if the SDK is not installed."""
    make_server(preset, path, lab).run("stdio")


def _server_class() -> "type[MCPServer[Any]]":
    """Returns the SDK's server, but that a sentence says what is wrong with arguments."""
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from pydantic import ValidationError

    class Server(MCPServer[Any]):
        # The SDK has no hook for refused arguments, and its middleware sees their text only. This
        # method is public, and documents its errors.
        async def call_tool(
            self, name: str, arguments: dict[str, Any], context: "Context[Any, Any] | None" = None
        ) -> Any:
            schemas = {tool.name: tool.input_schema for tool in await self.list_tools()}
            takes = schemas[name]["properties"] if name in schemas else arguments
            # The SDK would leave these out silently.
            wrong = [f"expected no `{key}`, got one" for key in arguments if key not in takes]
            try:
                if not wrong:
                    return await super().call_tool(name, arguments, context)
            except ToolError as error:
                if not isinstance(error.__cause__, ValidationError):
                    raise
                wrong = [_wrong(one) for one in error.__cause__.errors()]
            told = f"{'; '.join(wrong)}: call it again, `{name}` takes {', '.join(takes)}"
            raise ToolError(told)

    return Server


def _wrong(error: Mapping[str, Any]) -> str:
    """Says what pydantic has found, whose messages begin with "Input should be"."""
    name = error["loc"][0]
    if error["type"] == "missing":
        return f"expected `{name}`, got none"
    expected = error["msg"].removeprefix("Input should be ").partition(",")[0]
    return f"expected `{name}` to be {expected}, got {json.dumps(error['input'])[:80]}"


def _teller(context: "Context[Any, Any]") -> Callable[[str], None]:
    """Returns what tells each stage to an agent that has asked for progress, from any thread.

    Nobody waits for it: an experiment goes on if the agent is gone.
    """
    from anyio import from_thread

    loop = from_thread.run_sync(asyncio.get_running_loop)
    numbers = itertools.count(1)

    async def report(stage: str) -> None:
        await context.report_progress(next(numbers), message=stage)

    def tell(stage: str) -> None:
        asyncio.run_coroutine_threadsafe(report(stage), loop)

    return tell


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
