"""Hands an assignment to a fresh child process and returns its outcome.

However its processes end (exception, exit, kill, hang, flood, garbage, memory), an outcome comes
back; only our own faults raise. What was killed, and not by the lab, is examined again: a machine
kills processes, and a record must not tell of it. Safe to call from several threads.
"""

import array
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from move37.lab.sandbox import Layer
from move37.lab.words import OVERDUE, End, Garbled, expect, one_of, read, stage_of
from move37.records import (
    Assignment,
    Audit,
    Audited,
    CheckResult,
    Crashed,
    InputError,
    Measured,
    Outcome,
    Rejected,
    to_json,
)

# What a child may know of the environment. Keys of model providers are not among it.
ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
ROOT = str(Path(__file__).parents[2])  # of this copy of move37
ATTEMPTS = 6  # a program that kills itself does so every time
# The warden keeps the limit, which does not count the time that the processes wait for a processor.
# Without a word for this many times the limit, and a bit, the warden itself is taken for gone.
BUSY, GRACE_SECONDS = 20, 30.0
START_SECONDS = 300.0  # importing torch from a cold disk

OUTCOMES = (Rejected, Crashed, Measured)
VERIFYING = "verify: "  # so begins the stage of a check

Progress = Callable[[str], None]


def _environment() -> dict[str, str]:
    """Returns the environment of the lab's processes."""
    kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # They have to run the code that this process runs, not another copy that is installed. An
    # empty path is the current folder, from which `python -m move37` may have taken it.
    if ROOT in map(os.path.abspath, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        kept["PYTHONPATH"] = ROOT
    return kept | threads | {"PYTHONHASHSEED": "0"}


class LabError(RuntimeError):
    """The lab itself failed; the run cannot go on."""


class Lab:
    """Examines candidates, each in a child of its own, forked from a process that holds torch.

    Where a layer of the sandbox does not hold, `strict` refuses to start (InputError), and `warn`
    is told otherwise, once.
    """

    def __init__(
        self, *, strict: bool = False, warn: Callable[[str], None] = lambda text: None
    ) -> None:
        self._strict, self._warn = strict, warn
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._folders: list[str] = []  # where processes had their scratch folders
        self._closed = False

    def __enter__(self) -> "Lab":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def examine(self, assignment: Assignment, progress: Progress = lambda stage: None) -> Outcome:
        """Returns how the examination ended; `progress` is told each stage.

        Raises LabError if the lab's own processes fail.
        """
        cuda = assignment.device.startswith("cuda")
        request = {
            "kind": "assignment",
            "work": to_json(assignment),
            "seconds": assignment.limit_seconds,
            "bytes": 0 if cuda else assignment.limit_bytes,
            "devices": cuda,
        }
        outcome = self._exchange(request, lambda said: one_of(OUTCOMES, said), progress)
        assert not isinstance(outcome, Audited)
        return outcome

    def audit(
        self,
        audit: Audit,
        progress: Progress = lambda stage: None,
        tell: Callable[[Audited], None] = lambda so_far: None,
        begin: Callable[[Callable[[], None]], None] = lambda end: None,
    ) -> Audited | Rejected | Crashed:
        """Returns the verdicts of all checks, or why there are none; `progress` as above.

        `tell` is told the verdicts so far, with each one. `begin` receives a function that ends
        the processes, for another thread; what it raises ends the audit. It is called again for
        each further attempt.
        """
        request = {
            "kind": "audit",
            "work": to_json(audit),
            "seconds": audit.limit_seconds,
            "bytes": audit.limit_bytes,
            "devices": False,
        }
        so_far, entered = Audited("", ()), time.monotonic()

        def enter(stage: str) -> None:
            nonlocal so_far, entered
            entered = time.monotonic()
            if stage == "load":  # another attempt
                so_far = Audited("", ())
            progress(stage)

        def keep(said: object) -> None:
            nonlocal so_far
            so_far = _so_far(said, audit)
            tell(so_far)

        outcome = self._exchange(request, lambda said: _audited(said, audit), enter, keep, begin)
        assert not isinstance(outcome, Measured)
        if isinstance(outcome, Crashed):
            return _as_far_as_it_came(outcome, audit, so_far, time.monotonic() - entered)
        return outcome

    def _exchange(
        self,
        request: dict[str, Any],
        understand: Callable[[object], Outcome | Audited],
        progress: Progress,
        keep: Callable[[object], None] = lambda so_far: None,
        begin: Callable[[Callable[[], None]], None] = lambda end: None,
    ) -> Outcome | Audited:
        started = time.monotonic()
        for _ in range(ATTEMPTS):
            heard = self._try(request, understand, progress, keep, begin)
            # All attempts together have the time of one, and that of the last.
            if not heard.killed or time.monotonic() - started > request["seconds"]:
                break
        return heard.outcome

    def _try(
        self,
        request: dict[str, Any],
        understand: Callable[[object], Outcome | Audited],
        progress: Progress,
        keep: Callable[[object], None],
        begin: Callable[[Callable[[], None]], None],
    ) -> "_Heard":
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                begin(lambda: ours.shutdown(socket.SHUT_RDWR))  # the warden ends with its socket
                self._hand_over(theirs)
            ours.settimeout(BUSY * request["seconds"] + GRACE_SECONDS)
            stage = ["start"]

            def enter(name: str) -> None:
                stage[0] = name
                progress(name)

            try:
                ours.sendall(json.dumps(request).encode() + b"\n")
                with ours.makefile("rb") as lines:
                    return _listen(lines, understand, enter, keep)
            except (TimeoutError, BrokenPipeError, ConnectionResetError, EOFError):
                if self._closed:
                    raise LabError("the lab is closed") from None
                # The machine killed it, or an unconfined candidate did.
                told = "the process that watches over the child is gone"
                return _Heard(Crashed(stage[0], told), killed=True)

    def close(self) -> None:
        """Ends the lab's processes and all that they started."""
        with self._lock:
            self._closed = True
            if self._control is not None:
                self._control.close()
            if self._process is not None:
                try:
                    self._process.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
            self._control = self._process = None
            for folder in self._folders:
                # Gone already, unless the process that made it was killed.
                shutil.rmtree(folder, ignore_errors=True)

    def _look_at(self, layers: Sequence[Layer]) -> None:
        missing = [layer for layer in layers if not layer.holds]
        if missing and self._strict:
            raise InputError(
                f"the sandbox lacks {_told(missing)}. Expected every layer with --sandbox strict: "
                "leave it out to run with the others, or use a system that has them"
            )
        if missing:
            self._warn(f"The sandbox lacks {_told(missing)}. Run programs that you would run.")

    def _hand_over(self, descriptor: socket.socket) -> None:
        """Gives the zygote one end of an examination's socket; starts the zygote if need be."""
        with self._lock:
            if self._closed:
                raise LabError("the lab is closed")
            if self._control is None or self._process is None or self._process.poll() is not None:
                self._start()
            try:
                self._send(descriptor)
            except (BrokenPipeError, ConnectionResetError):
                self._start()  # it was killed, and is started anew
                self._send(descriptor)

    def _send(self, descriptor: socket.socket) -> None:
        assert self._control is not None
        rights = array.array("i", [descriptor.fileno()])
        self._control.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    def _start(self) -> None:
        """Starts the zygote; one that is killed before it is ready is started again."""
        for _ in range(ATTEMPTS):
            status = self._start_once()
            if status is None:
                return
            if -status not in (signal.SIGKILL, signal.SIGTERM):
                break
        raise LabError(
            f"the process that holds torch ended with status {status} before it was ready; "
            "its message stands above: `move37 doctor` checks the installation"
        )

    def _start_once(self) -> int | None:
        """Starts the zygote; returns the exit status of one that ended before it was ready."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:  # killed, or about to be gone
            self._process.kill()
            self._process.wait()
        self._control = None
        ours, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "move37.lab.zygote", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the office only
        )
        theirs.close()
        ours.settimeout(START_SECONDS)
        said = b""
        try:
            with contextlib.suppress(ConnectionResetError), ours.makefile("rb") as lines:
                said = lines.readline()
        except TimeoutError:
            ours.close()
            self._process.kill()
            self._process.wait()
            raise LabError(
                f"importing torch took more than {START_SECONDS:g} s: is the disk of "
                f"{sys.prefix} very slow, or the machine out of memory?"
            ) from None
        if not said.endswith(b"\n"):
            ours.close()
            return self._process.wait()
        told = json.loads(said)
        self._folders.append(told["folder"])
        try:
            self._look_at([Layer(*layer) for layer in told["layers"]])
        except InputError:
            ours.close()  # the zygote ends with it: no later call may use it
            self._process.wait()
            raise
        self._control = ours
        return None


def _told(missing: Sequence[Layer]) -> str:
    return "; ".join(f"{layer.name}: {layer.told}" for layer in missing)


class _Heard(NamedTuple):
    """How an examination ended."""

    outcome: Outcome | Audited
    killed: bool = False  # a process was killed, and not by the lab


def _listen(
    lines: Iterable[bytes],
    understand: Callable[[object], Outcome | Audited],
    progress: Progress,
    keep: Callable[[object], None],
) -> _Heard:
    """Reads a warden's lines up to the last one: those of a process without the program.

    What that one passes on of the program's words is parsed, not believed.
    """
    stage, outcome, garbled, killed = "start", None, "", False
    for line in lines:
        if not line.endswith(b"\n"):
            break  # the warden was killed as it spoke
        message = json.loads(line)  # the warden's own words: a fault here is ours
        if "said" not in message:
            end = End(**message)
            if end.ended == "fault":
                raise LabError(end.detail)
            if garbled:
                return _Heard(Crashed(stage, garbled))
            if outcome is not None and end.detail == "exit status 0":
                return _Heard(outcome, killed)
            if end.ended == "exit":
                raise LabError(f"{end.reason}\n(the process that measures, in stage {stage!r})")
            return _Heard(Crashed(stage, end.reason), end.killed)
        try:
            said = read(message["said"])
            if "stage" in said:
                stage = stage_of(said["stage"])
                progress(stage)
            elif "so far" in said:
                keep(said["so far"])
            else:
                outcome = understand(said.get("outcome"))
                killed = said.get("killed") is True
        except Garbled as error:
            garbled = str(error)
    raise EOFError("the warden ended without its last word")


def _audited(data: object, audit: Audit) -> Audited | Rejected | Crashed:
    """Returns the verdicts; raises Garbled unless they are those of the audit."""
    outcome: Audited | Rejected | Crashed = one_of((Rejected, Crashed, Audited), data)
    if isinstance(outcome, Audited):
        expect(tuple(check.check for check in outcome.checks), audit.checks, "checks")
    return outcome


def _so_far(data: object, audit: Audit) -> Audited:
    """Returns the verdicts of the first checks; raises Garbled unless they are the audit's."""
    so_far: Audited = one_of((Audited,), data)
    names = tuple(check.check for check in so_far.checks)
    expect(names, audit.checks[: len(names)], "checks")
    return so_far


def _as_far_as_it_came(
    crashed: Crashed, audit: Audit, so_far: Audited, seconds: float
) -> Audited | Crashed:
    """Returns the verdicts from before the time ran out or the process ended, and what that left.

    A process that ended before any check could run has none: that is returned as it is.
    """
    overdue = crashed.error.startswith(OVERDUE)
    verifying = crashed.stage.startswith(VERIFYING)
    if not overdue and not verifying:
        return crashed
    told_of = {check.check for check in so_far.checks}
    left = [name for name in audit.checks if name not in told_of]
    if not left:
        return so_far
    where = crashed.stage.removeprefix(VERIFYING) if verifying else "load"
    if where in told_of:  # between two checks
        where = left[0]
    told = crashed.error.removeprefix(f"{OVERDUE}: ")
    why = "the time ran out" if overdue else "the process ended"
    checks = (
        *so_far.checks,
        CheckResult(where, "failed", told, seconds),
        *(CheckResult(name, "not run", f"{why} in {where}") for name in left if name != where),
    )
    return replace(so_far, mixer=so_far.mixer or audit.mixer or "", checks=checks)
