"""The tools `brief`, `submit`, `top`, `show`, `lessons` and `verify` for coding agents: a server of
the Model Context Protocol over standard input and output.

What cannot be used is the answer of a tool, as an error with its sentence; the server goes on. A
`verify` that the agent cancels ends its processes at once; a `submit` goes on, and is kept.
"""

import asyncio
import contextlib
import itertools
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from move37 import __version__, agents, auditing, experiments
from move37.history import History
from move37.lab.client import Lab, LabError
from move37.loop import read
from move37.presets import Preset, warnings_for
from move37.records import (
    Audit,
    Audited,
    Crashed,
    InputError,
    Level,
    Rejected,
    RunFailed,
    fields_of,
)
from move37.results import find
from move37.search.fitness import Form, form_of
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
        from anyio import from_thread

        words = agents.Words(motivation, name, parent, agent or agents.AGENT)
        tell = _teller(context, from_thread.run_sync(asyncio.get_running_loop))
        with _said():
            done = agents.submit(
                preset,
                path,
                program,
                words,
                lab,
                lambda experiment, mixer, stage: tell(f"{mixer}: {stage}" if mixer else stage),
            )
            history = History(done.everything, [done.lesson])
            result = _result(history, done.records[-1].experiment, done.form)
            try:
                agents.renew_report(preset, path)
            except RunFailed as error:  # the experiment is kept all the same
                result["report"] = str(error)
            return result

    @server.tool()
    def top(
        most: Annotated[int, Field(ge=1, description="How many rows to return at most.")] = 20,
    ) -> list[dict[str, Any]]:
        """Return the leaderboard, fittest first; fitness is the gain on DeltaNet in seed noise."""
        with _said():
            history, form = _read(path)
            warnings = warnings_for(history)
            rows = leaderboard(history, form)[:most]
            return [_shown(row) | {"warnings": list(warnings)} for row in rows]

    @server.tool()
    def show(
        experiment: Annotated[
            str, Field(description="The number, id or name of an experiment, as `top` has them.")
        ],
    ) -> dict[str, Any]:
        """Return one experiment in full: motivation, program, checks, scores, lesson, lineage."""
        with _said():
            history, form = _read(path)
            number = find(history, experiment)
            shown = experiments.gather(history, number, form)
            proposal = shown.last.candidate.proposal
            return _result(history, number, form) | {
                "motivation": proposal.motivation,
                "lineage": list(shown.lineage),
                "checks": [fields_of(check) for check in shown.checks],
                "program": proposal.source,
            }

    @server.tool()
    def lessons(
        most: Annotated[int, Field(ge=1, description="How many lessons to return at most.")] = 20,
    ) -> list[dict[str, Any]]:
        """Return what the newest experiments taught, newest last, and what to work on next."""
        with _said():
            history, _ = _read(path)
            names = {record.experiment: record.candidate.proposal.name for record in history}
            warnings = list(warnings_for(history))
            return [
                {
                    "experiment": lesson.experiment,
                    "id": lesson.candidate,
                    "name": names[lesson.experiment],
                    "lesson": lesson.text,
                    "next": lesson.weakness,
                    "warnings": warnings,
                }
                for lesson in history.lessons[-most:]
            ]

    @server.tool()
    async def verify(
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
        tell = _teller(context, asyncio.get_running_loop())
        with _said():
            audited = await _verified(audit, lab, tell)
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


class _Cancelled(Exception):
    """The agent has cancelled its request."""


class _Cancellation:
    """Ends the processes of an audit from the thread of the server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_asked_for = False
        self._end: Callable[[], None] = lambda: None

    def begin(self, end: Callable[[], None]) -> None:
        """Keeps the function that ends the processes; raises _Cancelled if it is too late."""
        with self._lock:
            if self._is_asked_for:
                raise _Cancelled
            self._end = end

    def ask(self) -> None:
        """Ends the processes, and those of any further attempt."""
        with self._lock:
            self._is_asked_for = True
            with contextlib.suppress(OSError):  # they have just ended by themselves
                self._end()


async def _verified(audit: Audit, lab: Lab, tell: Callable[[str], None]) -> Audited:
    """Returns the verdicts; if the request is cancelled, the processes end and it is said."""
    from anyio import get_cancelled_exc_class, to_thread

    cancellation = _Cancellation()

    def work() -> Audited:
        try:
            return auditing.verify(audit, None, lab, tell, begin=cancellation.begin)
        except _Cancelled:
            # The protocol answers no request that was cancelled: this is for the agent's log.
            print(  # noqa: T201
                "move37: the verification was cancelled, its processes are ended", file=sys.stderr
            )
            raise

    try:
        return await to_thread.run_sync(work, abandon_on_cancel=True)
    except get_cancelled_exc_class():
        cancellation.ask()
        raise


def _teller(context: "Context[Any, Any]", loop: asyncio.AbstractEventLoop) -> Callable[[str], None]:
    """Returns a function that reports each stage to an agent that has asked for progress.

    Any thread may call it. Nobody waits for it: an experiment goes on if the agent is gone.
    """
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


def _read(path: Path) -> tuple[History, Form]:
    """Returns what the store holds, and the form of fitness that it was started with."""
    with Store.open(path, write=False) as store:
        return read(store), form_of(str(store.settings().get("fitness", "noise")))


def _result(history: History, number: int, form: Form) -> dict[str, Any]:
    """Returns what an agent has to know of an experiment; the rest is in the store."""
    shown = experiments.gather(history, number, form)
    last, lesson = shown.last, shown.lesson
    outcome = last.outcome
    found: dict[str, Any] = {
        "experiment": last.experiment,
        "id": last.candidate.id,
        "name": last.candidate.proposal.name,
        "outcome": type(outcome).__name__.lower(),
    }
    if isinstance(outcome, Rejected):
        found |= {"check": outcome.check, "evidence": outcome.evidence}
    elif isinstance(outcome, Crashed):
        found |= {"stage": outcome.stage, "error": outcome.error}
    elif shown.row is not None:
        rows = leaderboard(history, form)
        rank = 1 + next(n for n, row in enumerate(rows) if row.id == shown.row.id)
        found |= {"rank": rank, "of": len(rows)} | _shown(shown.row)
    if lesson is not None:
        found |= {"lesson": lesson.text, "next": lesson.weakness}
    return found | {"warnings": list(shown.warnings)}


def _shown(row: Row) -> dict[str, Any]:
    kept = ("name", "id", "experiment", "origin", "fitness", "interval", "verdict", "scores")
    told = fields_of(row)
    return {key: told[key] for key in kept}
