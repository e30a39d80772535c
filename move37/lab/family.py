"""The processes of one examination: started, watched and ended by their warden.

    warden --fork--> main process: measures an assignment, or audits
           --fork--> candidate's processes, as the main process asks for them

Each that may run a candidate's code is confined (see `sandbox`); each is in a session of its own,
with a scratch folder that goes with it.
The warden runs no candidate's code and no torch operation, so that it can fork safely.
"""

import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from move37.lab.sandbox import Confinement, confine
from move37.lab.words import End

if TYPE_CHECKING:
    from move37.lab.link import Link

_PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SCRATCH_BYTES, SCRATCH_FILES = 64 << 20, 1_000  # in the folders of an examination at a time
STDOUT_KEPT = 2_000  # last bytes of what is printed, kept as evidence when a process dies
KEPT = ("CUDA_VISIBLE_DEVICES",)  # of the environment: which GPU is whose
ENDING_SECONDS = 2.0  # from the closing of a pipe to the end of its process
_LONGEST = 1 << 16  # of a message between the main process and the warden

# What a process does with the descriptors that it is left.
Act = Callable[..., None]


@dataclass
class _Member:
    """What the warden knows of a process."""

    scratch: str  # where it may write
    printing: int  # where it can be read what it prints
    began_bytes: int  # what it held when it began
    scheduled: tuple[float, float] = (0.0, 0.0)  # seconds that it ran and waited, when last seen
    printed: bytes = b""  # the last of it


class Family:
    """The warden's end: all processes of one examination, and the last that each printed."""

    def __init__(self, bounds: Confinement, candidate: Act) -> None:
        """Each process is bound so, with a folder of its own below the scratch folder."""
        prctl(PR_SET_CHILD_SUBREAPER, 1)  # grandchildren that lose their parent come to us
        self._bounds, self._candidate = bounds, candidate
        # One question at a time, and shorter than what is sent as a whole.
        self.control, self._asking = socket.socketpair()
        self.main = 0
        self._members: dict[int, _Member] = {}  # by process
        self._elapsed, self._looked = 0.0, time.monotonic()

    def elapsed(self) -> float:
        """Returns the seconds since the start, without those in which all waited for a processor.

        What sleeps is charged for its sleep. On a busy machine an examination is charged for what
        it would have taken on an idle machine.
        """
        now = time.monotonic()
        passed, self._looked = now - self._looked, now
        ran = waited = 0.0
        for process, member in self._members.items():
            before, member.scheduled = member.scheduled, scheduled(process)
            ran += member.scheduled[0] - before[0]
            waited += member.scheduled[1] - before[1]
        self._elapsed += min(passed, max(passed - waited, ran))
        return self._elapsed

    def ask_for_last_words(self) -> None:
        """Lets each process that may hold a program say where that stands (SIGALRM)."""
        for process in self._members.keys() - {self.main}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGALRM)

    @property
    def folders(self) -> list[str]:
        """Where the processes that live may write."""
        return [member.scratch for member in self._members.values()]

    def start_main(self, act: Act) -> int:
        """Starts the process that speaks for all; returns the descriptor of its words.

        It runs no candidate's code and is not confined: it reads the tasks.
        """
        words, saying = os.pipe()
        self.main = self._start(act, saying, self._asking.fileno(), trusted=True)
        os.close(saying)
        self._asking.close()
        return words

    def answer(self) -> bool:
        """Does what the main process asks for; False once it is gone."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if message := self.control.recv(_LONGEST):
                self._answer(json.loads(message))
                return True
        return False

    def _answer(self, asked: dict[str, Any]) -> None:
        if asked["ask"] == "start":
            ours, theirs = socket.socketpair()
            with ours, theirs:
                process = self._start(self._candidate, theirs.fileno())
                told = json.dumps({"process": process}).encode()
                socket.send_fds(self.control, [told], [ours.fileno()])
            return
        process = asked["process"]
        answer: dict[str, Any] = {}
        if asked["ask"] == "peak":
            answer["bytes"] = max(0, held(process, "VmHWM") - self._members[process].began_bytes)
        elif asked["ask"] == "ended":
            answer = self.end_of(process)._asdict()
        else:
            self._end(process)
        self.control.send(json.dumps(answer).encode())

    def end_of(self, process: int) -> End:
        """Returns how a process ended that has closed its pipe; one may also go on."""
        deadline = time.monotonic() + ENDING_SECONDS
        while time.monotonic() < deadline:
            status = ending(process)
            if status is not None:
                return End(*status, self.last_printed(process))
            self.read_printed()  # it may wait for that
            time.sleep(0.005)
        return End("exit", "closed its pipe and went on", self.last_printed(process))

    def last_printed(self, process: int | None = None) -> str:
        """Returns the last that a process has printed, by default the one that began last."""
        self.read_printed()
        member = self._members[process or max(self._members)]
        return member.printed.decode(errors="replace")

    def read_printed(self) -> None:
        """Takes what the processes have printed, so that none waits for it."""
        for member in self._members.values():
            with contextlib.suppress(BlockingIOError):
                while data := os.read(member.printing, 1 << 16):
                    member.printed = (member.printed + data)[-STDOUT_KEPT:]

    def _start(self, act: Act, *descriptors: int, trusted: bool = False) -> int:
        scratch = tempfile.mkdtemp(dir=self._bounds.scratch)
        # Each has a pipe of its own: what two share, they could talk by.
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            bounds = replace(self._bounds, scratch=Path(scratch))
            _become(bounds, writing, act, descriptors, trusted=trusted)
        os.close(writing)
        os.set_blocking(reading, False)
        self._members[process] = _Member(scratch, reading, held(process, "VmRSS"))
        return process

    def _end(self, process: int) -> None:
        """Kills a process, its group and what it leaves behind, and removes its folder."""
        _kill_group(process)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, 0)
        member = self._members.pop(process)
        os.close(member.printing)
        remove(member.scratch)
        kill(set(children()) - self._members.keys())

    def end_all(self) -> None:
        """Kills all processes, and whatever of their offspring has come to us."""
        for process in self._members:
            _kill_group(process)
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            try:
                ended, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if ended == 0:
                kill(children())
                time.sleep(0.002)
        for folder in self.folders:
            remove(folder)


class Parent:
    """The main process's end: asks the warden for candidate's processes."""

    def __init__(self, descriptor: int) -> None:
        self._control = socket.socket(fileno=descriptor)

    @contextlib.contextmanager
    def start(self) -> Iterator["Child"]:
        """Starts a process with the candidate's program; it ends with the block."""
        from move37.lab.link import Link  # with torch, which the warden's file does not need

        # The sandbox lets nobody send: a socket may be written to all the same.
        os.write(self._control.fileno(), b'{"ask": "start"}')
        told, (descriptor,), _, _ = socket.recv_fds(self._control, _LONGEST, 1)
        child = Child(self, Link(descriptor), **json.loads(told))
        try:
            yield child
        finally:
            child.link.close()
            self.ask("end", child.process)

    def ask(self, what: str, process: int) -> dict[str, Any]:
        """Returns the warden's answer about a process."""
        question = json.dumps({"ask": what, "process": process}).encode()
        os.write(self._control.fileno(), question)
        answer: dict[str, Any] = json.loads(self._control.recv(_LONGEST))
        return answer


@dataclass(frozen=True)
class Child:
    """A process with the candidate's program in it."""

    parent: Parent
    link: "Link"
    process: int

    def how_it_ended(self) -> End:
        """Returns how it ended, once its link is closed."""
        return End(**self.parent.ask("ended", self.process))

    def peak_bytes(self) -> int:
        """Returns the most memory that it has held so far, beyond what it began with."""
        size: int = self.parent.ask("peak", self.process)["bytes"]
        return size


def _become(
    bounds: Confinement, printing: int, act: Act, descriptors: tuple[int, ...], *, trusted: bool
) -> None:
    """Acts with these descriptors and no others, confined unless trusted, and never returns."""
    status = 1
    try:
        os.setsid()
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(printing, 1)
        os.dup2(printing, 2)
        os.chdir(bounds.scratch)
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        os.environ.clear()
        os.environ.update(kept | {"HOME": str(bounds.scratch), "TMPDIR": str(bounds.scratch)})
        for descriptor in _open_descriptors() - {0, 1, 2, *descriptors}:
            with contextlib.suppress(OSError):  # the one that listed them is closed already
                os.close(descriptor)
        if not trusted:
            confine(bounds)
        act(*descriptors)
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        raise
    finally:
        os._exit(status)


def _open_descriptors() -> set[int]:
    with contextlib.suppress(FileNotFoundError):
        return {int(name) for name in os.listdir("/proc/self/fd")}
    return set(range(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0]))


# ---------------------------------------------------------------- processes


def ending(child: int) -> tuple[str, str] | None:
    """Says how the child ended, or None while it runs. Does not reap it: its number stays taken."""
    info = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if info is None:
        return None
    if info.si_code == os.CLD_EXITED:
        return "exit", f"exit status {info.si_status}"
    known = info.si_status in set(signal.Signals)
    return "signal", signal.Signals(info.si_status).name if known else f"signal {info.si_status}"


def children() -> list[int]:
    """Returns the processes whose parent is this one (Linux; elsewhere none are found)."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(number) for number in file.read().split()]
    except FileNotFoundError:
        return []


def count_tasks() -> int:
    """Returns how many threads the descendants of this process have (Linux; elsewhere none)."""
    parents: dict[int, int] = {}
    threads: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            # After the name, which may hold anything, come the state and the parent; see proc(5).
            after = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            parents[int(folder.name)], threads[int(folder.name)] = int(after[1]), int(after[17])
    found, border = 0, {os.getpid()}
    while border:
        border = {process for process, parent in parents.items() if parent in border}
        found += sum(threads[process] for process in border)
    return found


def scheduled(process: int) -> tuple[float, float]:
    """Returns the seconds that a process has run, and has waited for a processor (Linux).

    Elsewhere, and of a process that is gone, none are known.
    """
    ran = waited = 0
    for file in Path(f"/proc/{process}/task").glob("[0-9]*/schedstat"):
        with contextlib.suppress(OSError, ValueError):
            of_thread = [int(number) for number in file.read_text().split()]
            ran, waited = ran + of_thread[0], waited + of_thread[1]
    return ran / 1e9, waited / 1e9


def held(process: int, what: str) -> int:
    """Returns a size of a process in bytes, by its name in /proc (Linux; elsewhere 0)."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(what):
                return int(line.split()[1]) * 1024
    return 0


def kill(processes: Iterable[int]) -> None:
    """Kills processes, those that are gone already left out."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _kill_group(process: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)
    kill([process])


def prctl(option: int, value: int) -> None:
    """Calls prctl(2) on Linux, and nothing elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


# ---------------------------------------------------------------- folders


def is_small(folders: Iterable[str]) -> bool:
    """Returns whether all files below the folders together are within the limits."""
    files, size, left = 0, 0, list(folders)
    while left:
        # A folder may be locked, nested too deep to have a path, or gone: its entry has counted.
        with contextlib.suppress(OSError), os.scandir(left.pop()) as entries:
            for entry in entries:
                files += 1
                size += entry.stat(follow_symlinks=False).st_blocks * 512
                if files > SCRATCH_FILES or size > SCRATCH_BYTES:
                    return False
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
    return True


def remove(folder: str) -> None:
    """Removes the folder, however deep its folders are nested and whatever their modes are."""
    # Folders within folders are moved up: no path gets long, and nothing recurses.
    moved, found = 0, [folder]
    while found:
        inner = found.pop()
        with contextlib.suppress(OSError):
            os.chmod(inner, 0o700)
            for entry in list(os.scandir(inner)):
                if entry.is_dir(follow_symlinks=False):
                    os.chmod(entry.path, 0o700)
                    moved += 1
                    found.append(f"{folder}/.{moved}")
                    os.rename(entry.path, found[-1])
                else:
                    os.unlink(entry.path)
            if inner != folder:
                os.rmdir(inner)
    shutil.rmtree(folder, ignore_errors=True)
