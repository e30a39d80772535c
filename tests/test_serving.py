"""The tools of a coding agent, asked through the SDK's own client."""

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from move37 import serving
from move37.lab.client import Lab, LabError
from move37.presets import SMOKE
from move37.records import Audit, InputError, Rejected
from tests.fakes import FakeLab, preset
from tests.test_cli import descendants, move37

mcp = pytest.importorskip("mcp")
anyio = pytest.importorskip("anyio")

BASELINES = len(SMOKE.baselines)
PROGRAM = "class Mine:\n    value = 1\n"


def asked(path: Path, talk: Callable[[Any], Awaitable[None]], lab: Any = None) -> None:
    """Talks to a server over the store, within this process."""

    async def session() -> None:
        stand_in: Any = lab or FakeLab()
        server = serving.make_server(preset(ruler=None), path, stand_in)
        async with mcp.Client(server) as client:
            await talk(client)

    anyio.run(session)


def text_of(result: Any) -> str:
    return "\n".join(part.text for part in result.content)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def test_the_tools_are_six_and_each_says_what_it_does(path: Path) -> None:
    async def talk(client: Any) -> None:
        tools = {tool.name: tool.description for tool in (await client.list_tools()).tools}
        assert set(tools) == {"brief", "submit", "top", "show", "lessons", "verify"}
        assert all(tools.values())

    asked(path, talk)


def test_each_argument_of_each_tool_is_described(path: Path) -> None:
    async def talk(client: Any) -> None:
        for tool in (await client.list_tools()).tools:
            assert "context" not in tool.input_schema["properties"]
            for name, schema in tool.input_schema["properties"].items():
                assert schema.get("description"), (tool.name, name)

    asked(path, talk)


def test_an_agent_reads_a_brief_submits_and_looks_at_the_leaderboard(path: Path) -> None:
    async def talk(client: Any) -> None:
        brief = text_of(await client.call_tool("brief", {}))
        assert "What the program has to be" in brief
        done = await client.call_tool("submit", {"program": PROGRAM, "motivation": "Why not."})
        assert not done.is_error
        told = json.loads(text_of(done))
        assert (told["experiment"], told["outcome"]) == (BASELINES, "measured")
        assert {"fitness", "interval", "rank", "lesson", "next"} <= set(told)
        top = await client.call_tool("top", {"most": 3})
        assert len(top.structured_content["result"]) == 3

    asked(path, talk)


def test_an_agent_is_shown_an_experiment_in_full(path: Path) -> None:
    async def talk(client: Any) -> None:
        arguments = {"program": PROGRAM, "motivation": "Why not.", "name": "Mine"}
        submitted = json.loads(text_of(await client.call_tool("submit", arguments)))
        shown = json.loads(text_of(await client.call_tool("show", {"experiment": "Mine"})))
        assert submitted.items() <= shown.items()
        assert (shown["program"], shown["motivation"]) == (PROGRAM, "Why not.")
        assert shown["lineage"] == []
        assert {"check", "verdict", "evidence"} <= set(shown["checks"][0])

    asked(path, talk)


def test_an_agent_is_shown_the_newest_lessons(path: Path) -> None:
    async def talk(client: Any) -> None:
        done = await client.call_tool("submit", {"program": PROGRAM, "motivation": "Why not."})
        told = json.loads(text_of(done))
        lessons = (await client.call_tool("lessons", {"most": 2})).structured_content["result"]
        assert [one["experiment"] for one in lessons] == [BASELINES - 1, BASELINES]
        assert lessons[-1]["lesson"] == told["lesson"]
        assert lessons[-1]["name"] == told["name"]

    asked(path, talk)


def test_the_numbers_of_a_smoke_run_carry_their_warning_to_an_agent(path: Path) -> None:
    async def talk(client: Any) -> None:
        done = await client.call_tool("submit", {"program": PROGRAM, "motivation": "Why not."})
        results = [json.loads(text_of(done))]
        shown = await client.call_tool("show", {"experiment": str(BASELINES)})
        results.append(json.loads(text_of(shown)))
        for tool in ("top", "lessons"):
            results += (await client.call_tool(tool, {})).structured_content["result"]
        assert len(results) > 4
        for result in results:
            assert "too short for its numbers to mean anything" in result["warnings"][0]
        assert "too short for its numbers" in text_of(await client.call_tool("brief", {}))

    asked(path, talk)


def test_a_submit_of_an_agent_writes_the_report_anew(path: Path) -> None:
    async def talk(client: Any) -> None:
        for n in range(2):
            arguments = {"program": f"{PROGRAM}{n}\n", "motivation": "x", "name": f"Mine{n}"}
            await client.call_tool("submit", arguments)
            assert f"Mine{n}" in (path.parent / "report.html").read_text()

    asked(path, talk)


def test_a_report_that_cannot_be_written_does_not_hide_the_result(path: Path) -> None:
    (path.parent / "report.html").mkdir()  # what is there cannot be replaced

    async def talk(client: Any) -> None:
        done = await client.call_tool("submit", {"program": PROGRAM, "motivation": "x"})
        told = json.loads(text_of(done))
        assert told["outcome"] == "measured"
        assert told["report"].startswith("the report could not be written to")

    asked(path, talk)


ENDLESS = """from torch import Tensor, nn


class Endless(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()

    def forward(self, x_BTD: Tensor) -> Tensor:
        while True:
            x_BTD = x_BTD + 0
"""


def test_a_verify_that_an_agent_cancels_ends_its_processes_and_says_so(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Lab() as lab:
        lab.audit(Audit("x = 1", None, (), "quick", 64, 4, 60.0, 4 << 30))  # it is started
        assert lab._process is not None
        zygote = lab._process.pid

        async def talk(client: Any) -> None:
            begun = anyio.Event()

            async def hear(_: float, __: float | None, stage: str | None) -> None:
                if stage and stage.startswith("verify: "):
                    begun.set()

            async with anyio.create_task_group() as group:
                arguments = {"program": ENDLESS}
                group.start_soon(
                    lambda: client.call_tool("verify", arguments, progress_callback=hear)
                )
                await begun.wait()
                assert len(descendants(zygote)) >= 3  # warden, main process, the program's
                group.cancel_scope.cancel()
            with anyio.fail_after(60):  # a bound against hanging, not a measurement
                while descendants(zygote):
                    await anyio.sleep(0.01)
            assert not (await client.call_tool("brief", {})).is_error

        asked(path, talk, lab)
    assert (
        "move37: the verification was cancelled, its processes are ended" in capfd.readouterr().err
    )


def test_a_program_that_is_refused_is_a_result_with_its_evidence(path: Path) -> None:
    async def talk(client: Any) -> None:
        arguments = {"program": PROGRAM + "# FAIL\n", "motivation": "Why not."}
        done = await client.call_tool("submit", arguments)
        assert not done.is_error
        told = json.loads(text_of(done))
        assert (told["outcome"], told["check"]) == ("rejected", "causality")

    asked(path, talk)


class _Refusing(FakeLab):
    def audit(self, audit: Any, progress: Any, *_: Any) -> Any:  # noqa: ARG002
        progress("load")
        return Rejected("interface", "found A, B")


@pytest.mark.parametrize(
    ("tool", "stages"),
    [("submit", {"DeltaNet: train", "propose", "Mine: train"}), ("verify", {"load"})],
)
def test_an_agent_that_asks_for_progress_is_told_each_stage(
    path: Path, tool: str, stages: set[str]
) -> None:
    heard: list[tuple[float, str | None]] = []

    async def hear(number: float, _: float | None, stage: str | None) -> None:
        heard.append((number, stage))

    async def talk(client: Any) -> None:
        arguments = {"program": PROGRAM} | ({"motivation": "x"} if tool == "submit" else {})
        await client.call_tool(tool, arguments, progress_callback=hear)
        assert stages <= {stage for _, stage in heard}
        assert [number for number, _ in heard] == list(range(1, len(heard) + 1))

    asked(path, talk, _Refusing())


def test_no_file_is_named_to_an_agent_that_gave_a_text(path: Path) -> None:
    source = """class {}:
    def __init__(self, dim, *, heads): ...
    def forward(self): ...
"""

    async def talk(client: Any) -> None:
        program = source.format("A") + source.format("B")
        told = text_of(await client.call_tool("verify", {"program": program}))
        assert told.endswith("the program cannot be verified: found A, B")

    asked(path, talk, _Refusing())


class _Closed(FakeLab):
    def examine(self, *_: Any) -> Any:
        raise LabError("the lab is closed")

    def audit(self, *_: Any) -> Any:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("submit", {"program": PROGRAM}, "expected a `motivation`"),
        ("submit", {"program": "A fine idea."}, "no program can be read"),
        ("submit", {"program": PROGRAM, "motivation": "x", "parent": "nobody"}, "no store at"),
        ("submit", {"program": PROGRAM, "motivation": "x"}, "the lab is closed"),
        ("top", {}, "no store at"),
        ("lessons", {}, "no store at"),
        ("show", {"experiment": "0"}, "no store at"),
        ("verify", {"program": PROGRAM}, "Error executing tool verify"),
    ],
)
def test_what_cannot_be_done_is_an_error_of_the_tool_and_the_server_goes_on(
    path: Path, tool: str, arguments: dict[str, Any], told: str
) -> None:
    async def talk(client: Any) -> None:
        result = await client.call_tool(tool, arguments)
        assert result.is_error
        assert told in text_of(result)
        assert "--" not in text_of(result)  # the agent has no command line
        assert not (await client.call_tool("brief", {})).is_error

    asked(path, talk, _Closed())


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("verify", {}, "expected `program`, got none: call it again, `verify` takes program, full"),
        ("brief", {"seed": "three"}, 'expected `seed` to be a valid integer, got "three": call'),
        ("brief", {"seed": -1}, "expected `seed` to be greater than or equal to 0, got -1: call"),
        ("top", {"most": 0}, "expected `most` to be greater than or equal to 1, got 0: call"),
        ("top", {"least": 3}, "expected no `least`, got one: call it again, `top` takes most"),
        (
            "submit",
            {"program": None, "name": 5},
            "expected `program` to be a valid string, got null; "
            "expected `name` to be a valid string, got 5: call",
        ),
    ],
)
def test_a_wrong_argument_is_said_in_a_sentence(
    path: Path, tool: str, arguments: dict[str, Any], told: str
) -> None:
    async def talk(client: Any) -> None:
        result = await client.call_tool(tool, arguments)
        assert result.is_error
        assert text_of(result).startswith(told)

    asked(path, talk)


def test_without_the_sdk_it_is_said_how_to_install_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    with pytest.raises(InputError, match=r"pip install 'move37\[mcp\]'"):
        serving.make_server(SMOKE, path, FakeLab())  # type: ignore[arg-type]


def test_the_command_serves_over_its_input_and_output(path: Path) -> None:
    async def session() -> None:
        arguments = ["-m", "move37.cli", "mcp", "--preset", "smoke", "--store", str(path)]
        server = mcp.StdioServerParameters(command=sys.executable, args=arguments)
        async with mcp.Client(mcp.stdio_client(server)) as client:
            assert "Experiment 5" in text_of(await client.call_tool("brief", {}))
            assert (await client.call_tool("top", {})).is_error

    anyio.run(session)


def test_an_unknown_preset_is_exit_status_2() -> None:
    assert move37("mcp", "--preset", "moon").returncode == 2
