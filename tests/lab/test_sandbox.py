"""Whatever a candidate's program tries, it gets out of nothing, and nothing of it stays.

The layers do not trust each other: what one of them holds it holds without the static gate, which
would refuse most of these programs by their text.

`escapes` holds one attempt a file. Its docstring says what holds it: a layer of the sandbox
(limits, network, privileges, files, calls), the static filter (imports), the process that watches
over the others (warden), the reading of what a candidate's process says (lab), or that its numbers
are made in another process (measuring): these attempts are trained, and one that is measured has
the numbers of the same mixer without the attempt. A refused attempt
raises "HELD ..." with the system's answer, one that succeeds "ESCAPED ...".
"""

import ast
import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from move37.lab import client, family, sandbox, zygote
from move37.lab.client import Lab
from move37.lab.loading import Refused, check_imports
from move37.lab.sandbox import Confinement
from move37.lab.words import clean
from move37.loop import assignment
from move37.presets import SMOKE
from move37.records import (
    Assignment,
    Crashed,
    Measured,
    Measurement,
    Rejected,
    to_data,
    to_json,
)
from tests.lab.ungated import TAKE_OUT, Ungated

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")

ESCAPES = sorted((Path(__file__).parent / "escapes").glob("[a-z]*.py"))
REPOSITORY = Path(__file__).parents[2]
OS = 'import torch\nos = vars(torch)["os"]'  # how a program comes by it, without the gate
MARK = f"move37_escaped_{os.getpid()}"  # the name of whatever an attempt makes
LAYERS = {
    "limits": "_limit",
    "network": "_leave_network",
    "privileges": "_drop_privileges",
    "files": "_restrict_files",
    "calls": "_filter_calls",
}
THREADS = {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED"}
# The system's answer where a layer holds: EPERM, EACCES.
TRACES = {"calls": "HELD [Errno 1]", "privileges": "HELD [Errno 1]", "files": "HELD [Errno 13]"}


class Attempt(NamedTuple):
    """What an attempt's docstring says."""

    layer: str
    told: str  # the outcome has to contain it


def attempt(source: str) -> Attempt:
    docstring = ast.get_docstring(ast.parse(source)) or ""
    found = re.fullmatch(r"Held by (\w+): .+?\.(?:\n\nTold as: (.+))?", docstring, re.DOTALL)
    assert found, f"expected 'Held by LAYER: what is tried.', got {docstring!r}"
    return Attempt(found[1], found[2] or TRACES[found[1]])


@dataclass(frozen=True)
class Canaries:
    """What must stay as it is: files with a secret, and ears on the machine's own network."""

    folder: Path
    listeners: tuple[socket.socket, ...]
    places: dict[str, str]  # by the name that the attempts have for them

    def fill(self, source: str) -> str:
        for name, value in self.places.items():
            source = source.replace(f"@{name}@", value)
        return source

    def files(self) -> dict[str, object]:
        """Returns all that can be seen of the files; the time of reading is left out."""
        seen: dict[str, object] = {}
        for path in sorted(self.folder.rglob("*")):
            if path.is_file():
                told = path.stat()
                owner = told.st_uid, told.st_gid, told.st_mode, told.st_nlink
                seen[str(path)] = path.read_text(), *owner, told.st_mtime_ns, os.listxattr(path)
            else:
                seen[str(path)] = path.stat().st_mode
        return seen

    def called(self) -> list[socket.socket]:
        """Returns the listeners that somebody has called."""
        found = []
        for listener in self.listeners:
            with contextlib.suppress(BlockingIOError):
                if listener.type == socket.SOCK_STREAM:
                    listener.accept()
                else:
                    listener.recv(100)
                found.append(listener)
        return found


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lacking = [layer for layer in sandbox.probe() if not layer.holds]
    if lacking:
        pytest.skip(f"this system lacks layers: {lacking}")
    with Ungated() as lab:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PROVIDER_KEY", "a secret")
            lab.examine(work("x = 1"))  # starts it
        yield lab


@pytest.fixture(scope="module")
def gated() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def canaries(tmp_path_factory: pytest.TempPathFactory, lab: Lab) -> Iterator[Canaries]:
    folder = tmp_path_factory.mktemp("canaries")
    named = {
        "SECRET": folder / "secret",
        "VICTIM": folder / "victim",
        "STORE": folder / "runs" / "smoke" / "store.sqlite",
        "HOME": folder / "home",
    }
    for path in (*list(named.values())[:3], folder / "home" / ".ssh" / "id_ed25519"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a secret")
        path.chmod(0o644)
    assert lab._process is not None
    with contextlib.ExitStack() as stack:
        tcp, udp = socket.create_server(("127.0.0.1", 0)), socket.socket(type=socket.SOCK_DGRAM)
        udp.bind(tcp.getsockname())
        unix, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        # A path of a socket has 108 bytes at most, and that of a test may be longer.
        named["SOCKET"] = Path(f"/tmp/move37-ear-{os.getpid()}")
        stack.callback(named["SOCKET"].unlink)
        unix.bind(str(named["SOCKET"]))
        abstract.bind(f"\0move37-ear-{os.getpid()}")
        unix.listen()
        abstract.listen()
        for listener in (tcp, udp, unix, abstract):
            stack.enter_context(listener).setblocking(False)
        places = {name: str(path) for name, path in named.items()} | {
            "PORT": str(tcp.getsockname()[1]),
            "ABSTRACT": f"move37-ear-{os.getpid()}",
            "OFFICE": str(os.getpid()),
            "ZYGOTE": str(lab._process.pid),
            "REPOSITORY": str(REPOSITORY),
            "MARK": MARK,
        }
        yield Canaries(folder, (tcp, udp, unix, abstract), places)
    for path in left_behind():
        path.unlink() if path.is_file() else path.rmdir()


def work(source: str, *, seconds: float = 60.0) -> Assignment:
    made = assignment(SMOKE, source, seeds=(), checks=("interface",))
    return replace(made, limit_seconds=seconds, limit_bytes=1 << 30)


def trained(work: Assignment) -> Assignment:
    """Returns the assignment with a short training and without checks, which might say no."""
    recall = next(budget for budget in SMOKE.budgets if budget.task == "recall")
    return replace(work, checks=(), budgets=(recall,), seeds=(0,))


def numbers(outcome: object) -> list[Measurement]:
    """Returns what was measured, without what time and machine decide."""
    assert isinstance(outcome, Measured)
    return [replace(one, seconds=0.0, peak_bytes=0) for one in outcome.measurements]


HONEST = """
import torch
from torch import Tensor, nn


class Honest(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)
"""


@pytest.fixture(scope="module")
def honest(lab: Lab) -> list[Measurement]:
    return numbers(lab.examine(trained(work(HONEST))))


def left_behind() -> list[Path]:
    """Returns what an attempt has made outside of its folder."""
    site = Path(sys.modules["torch"].__path__[0]).parent
    places = (Path("/tmp"), Path("/dev/shm"), REPOSITORY / "move37", REPOSITORY, site)
    return [path for place in places for path in place.glob(f"*{MARK}*")]


def children(process: int) -> list[int]:
    return [int(x) for x in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def eventually(holds: Callable[[], bool], *, seconds: float = 3.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def said(lab: Lab, source: str) -> Any:
    """Returns the Python value whose representation the program raises as a ValueError."""
    outcome = lab.examine(work(source))
    assert isinstance(outcome, Crashed)
    return ast.literal_eval(outcome.error.splitlines()[0].removeprefix("ValueError: "))


def scratch_of(lab: Lab) -> Path:
    """Returns the folder in which a lab makes those of its children."""
    return Path(said(lab, f"{OS}\nraise ValueError(repr(os.getcwd()))")).parent


@pytest.mark.parametrize("file", ESCAPES, ids=lambda file: file.stem)
def test_an_attempt_is_held_and_nothing_of_it_stays(
    lab: Lab, gated: Lab, canaries: Canaries, honest: list[Measurement], file: Path
) -> None:
    source = canaries.fill(file.read_text())
    layer, told = attempt(source)
    before = canaries.files()
    nice, processors = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)
    # Short where time itself is the limit.
    what = work(source, seconds=2 if "time limit" in told else 60)
    examining = gated if layer == "imports" else lab
    outcome = examining.examine(trained(what) if layer == "measuring" else what)

    assert "ESCAPED" not in repr(outcome)
    assert any(one in repr(outcome) for one in told.split(" | ")), outcome
    if layer == "imports":
        assert isinstance(outcome, Rejected)
        assert outcome.check == "imports"
    if told == "Measured(" and layer == "measuring":
        assert isinstance(outcome, Measured)
        assert numbers(outcome) == honest
        assert outcome.measurements[0].seconds > 0
    assert clean(to_data(outcome)) == to_data(outcome)  # may be printed and stored
    to_json(outcome)
    assert canaries.files() == before
    assert canaries.called() == []
    assert left_behind() == []
    assert examining._process is not None
    zygote_id = examining._process.pid
    assert eventually(lambda: children(zygote_id) == [])
    assert examining._process.poll() is None
    assert (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)) == (nice, processors)


def test_there_are_attempts_on_every_layer() -> None:
    layers = [attempt(file.read_text()).layer for file in ESCAPES]
    assert set(layers) == {*LAYERS, "imports", "warden", "lab", "measuring"}
    assert len(layers) >= 80


def test_the_gate_refuses_every_attempt_that_reaches_for_a_module_of_the_system() -> None:
    passed = []
    for file in ESCAPES:
        if "vars(" in file.read_text():
            with contextlib.suppress(Refused):
                check_imports(file.read_text())
                passed.append(file.stem)
    assert passed == []


# ---------------------------------------------------------------- each layer holds what it names


def missing(what: Confinement) -> None:  # noqa: ARG001
    raise sandbox._Missing("taken out by a test")


class Fork(Lab):
    """A lab in this process, with whatever a test has changed of the sandbox."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._watchers: list[int] = []

    def close(self) -> None:
        super().close()
        for watcher in self._watchers:
            os.waitpid(watcher, 0)

    def _hand_over(self, descriptor: socket.socket) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other tests may leave threads
            watcher = os.fork()
        if watcher > 0:
            self._watchers.append(watcher)
            return
        try:
            exec(TAKE_OUT, {})
            zygote.warden(descriptor, str(self._folder))
        finally:
            os._exit(0)


HARMLESS = {  # an attempt whose success does no harm
    "limits": "writes_a_large_file",
    "network": "reads_who_listens",
    # Anybody but root needs this layer for the ones that follow it.
    "privileges": "becomes_another_user" if os.getuid() == 0 else "forks",
    "files": "reads_a_secret",
    "calls": "forks",
}


@pytest.mark.parametrize("layer", LAYERS)
def test_without_a_layer_an_attempt_escapes(
    canaries: Canaries, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, layer: str
) -> None:
    file = next(file for file in ESCAPES if file.stem == HARMLESS[layer])
    source = canaries.fill(file.read_text())
    with Fork(tmp_path) as lab:
        assert "HELD" in repr(lab.examine(work(source)))
        monkeypatch.setattr(sandbox, LAYERS[layer], missing)
        assert "ESCAPED" in repr(lab.examine(work(source)))


# ---------------------------------------------------------------- what no program has to try


def test_the_zygote_has_one_thread_when_it_forks(lab: Lab) -> None:
    lab.examine(work("x = 1"))
    assert lab._process is not None
    status = Path(f"/proc/{lab._process.pid}/status").read_text()
    assert re.search(r"^Threads:\t1$", status, re.MULTILINE)


ENDINGS = {
    "by itself": "x = 1",
    "by an exception": "raise ValueError",
    "by exit": f"{OS}\nos._exit(0)",
    "by a signal": f"{OS}\nos.kill(os.getpid(), 9)",
    "by its warden": "while True: pass",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_folder_of_a_child_is_gone_however_it_ends(lab: Lab, ending: str) -> None:
    everything = scratch_of(lab)
    writes = f'{OS}\nos.mkdir("folder")\nos.close(os.open("folder/file", os.O_CREAT))\n'
    lab.examine(work(writes + ENDINGS[ending], seconds=0.5 if "warden" in ending else 60))
    assert list(everything.iterdir()) == []


def test_a_closed_lab_leaves_no_folder_although_it_was_at_work() -> None:
    with Ungated() as busy:
        everything = scratch_of(busy)
        entered = threading.Event()
        told: list[object] = []

        def examine() -> None:
            try:
                busy.examine(work("while True: pass"), lambda stage: entered.set())
            except client.LabError as error:
                told.append(error)

        thread = threading.Thread(target=examine)
        thread.start()
        assert entered.wait(30)
        assert len(list(everything.iterdir())) == 2  # of the one that measures, and the program's
    thread.join(30)
    assert len(told) == 1
    assert not everything.exists()


def test_home_and_environment_are_clean_inside(lab: Lab) -> None:
    now = f"{OS}\nraise ValueError(repr((os.getcwd(), dict(os.environ))))"
    before = (
        f"{OS}\ntold = os.read(os.open('/proc/self/environ', os.O_RDONLY), 100_000)\n"
        "names = [entry.split(b'=')[0].decode() for entry in told.split(b'\\0') if entry]\n"
        "raise ValueError(repr((b'a secret' in told, names)))"
    )
    folder, environment = said(lab, now)
    assert environment == {"HOME": folder, "TMPDIR": folder}
    secret, names = said(lab, before)
    assert not secret
    assert not set(names) & (os.environ.keys() - set(client.ENVIRONMENT) - THREADS)


def test_a_child_may_not_compute_for_longer_than_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        family, "confine", lambda what: sandbox.confine(replace(what, processor_seconds=0))
    )
    with Fork(tmp_path) as lab:
        outcome = lab.examine(work("while True: pass"))
    assert isinstance(outcome, Crashed)
    assert "was killed: SIG" in outcome.error


def test_whatever_a_folder_holds_it_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "open" / "inner").mkdir(parents=True)
    (folder / "open" / ".1").write_text("named as those that are moved")
    (folder / ".1").mkdir()
    (folder / "locked" / "inner").mkdir(parents=True)
    (folder / "locked").chmod(0)
    (folder / "link").symlink_to(tmp_path)
    family.remove(str(folder))
    assert list(tmp_path.iterdir()) == []


WITH_CUDA = """
import os, socket, sys
from pathlib import Path
from move37.lab.sandbox import Confinement, confine
held = confine(Confinement(Path(sys.argv[1]), 0, 10.0, devices=True))
attempts = {
    "bind": lambda: socket.socket(socket.AF_UNIX).bind(sys.argv[1] + "/own"),
    "connect": lambda: socket.socket(socket.AF_UNIX).connect(sys.argv[1] + "/own"),
    "internet": lambda: socket.socket(socket.AF_INET),
    "pair": lambda: socket.socketpair(),
    "fork": os.fork,
}
for name, attempt in attempts.items():
    try:
        attempt()
        print(name, "allowed")
    except PermissionError:
        print(name, "refused")
"""


def test_with_cuda_a_socket_of_the_system_may_be_bound_and_no_call_else(tmp_path: Path) -> None:
    words = [sys.executable, "-c", WITH_CUDA, str(tmp_path)]
    told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    refused = ["connect refused", "internet refused", "pair refused", "fork refused"]
    assert told.splitlines() == ["bind allowed", *refused]


def test_the_profile_for_macos_lets_one_folder_be_written_and_no_task_be_read() -> None:
    """The text only: no machine with macOS was there to try it."""
    lines = sandbox.seatbelt(Path('/tmp/a "b"')).splitlines()
    assert "(deny network*)" in lines
    writes = [line for line in lines if "file-write*" in line]
    assert writes[0] == "(deny file-write*)"
    assert writes[1].startswith('(allow file-write* (subpath "/tmp/a \\"b\\""))'[:-1])
    tasks = Path(sandbox.__file__).parents[1] / "tasks"
    hidden = lines.index(next(line for line in lines if f'(subpath "{tasks}")' in line))
    assert lines[hidden].startswith("(deny file-read-data")
    assert hidden > max(n for n, line in enumerate(lines) if line.startswith("(allow file-read"))
