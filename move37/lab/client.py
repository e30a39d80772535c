"""Hands an assignment to a fresh child process and returns its outcome.

However a child ends (exception, exit, kill, hang, flood, garbage, memory), an outcome comes back;
only our own faults raise. Safe to call from several threads.
"""

import array
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from move37.lab.sandbox import Layer
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
    from_json,
    to_json,
)

# What a child may know of the environment. Keys of model providers are not among it.
ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
GRACE_SECONDS = 30.0  # beyond the child's own limit, for a busy machine; the warden keeps the limit
START_SECONDS = 300.0  # importing torch from a cold disk

VERIFYING = "verify: "  # so begins the stage of a check

Progress = Callable[[str], None]


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
        outcome = self._exchange(request, lambda said: _outcome(said, assignment), progress)
        assert not isinstance(outcome, Audited)
        return outcome

    def audit(
        self, audit: Audit, progress: Progress = lambda stage: None
    ) -> Audited | Rejected | Crashed:
        """Returns the verdicts of all checks, or why there are none; `progress` as above."""
        request = {
            "kind": "audit",
            "work": to_json(audit),
            "seconds": audit.limit_seconds,
            "bytes": audit.limit_bytes,
            "devices": False,
        }
        verdicts: list[CheckResult] = []
        outcome = self._exchange(
            request, lambda said: _audited(said, audit), progress, verdicts.append
        )
        assert not isinstance(outcome, Measured)
        if isinstance(outcome, Crashed) and outcome.stage.startswith(VERIFYING):
            # What was said before the process ended counts; the check that it was in has failed.
            checks = [check for check in verdicts if check.check in audit.checks]
            ended = CheckResult(outcome.stage.removeprefix(VERIFYING), "failed", outcome.error)
            return Audited(audit.mixer or "the mixer", (*checks, ended))
        return outcome

    def _exchange(
        self,
        request: dict[str, Any],
        understand: Callable[[object], Outcome | Audited],
        progress: Progress,
        verdict: Callable[[CheckResult], None] = lambda check: None,
    ) -> Outcome | Audited:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self._hand_over(theirs)
            ours.settimeout(request["seconds"] + GRACE_SECONDS)
            stage = ["start"]

            def enter(name: str) -> None:
                stage[0] = name
                progress(name)

            try:
                ours.sendall(json.dumps(request).encode() + b"\n")
                with ours.makefile("rb") as lines:
                    return _listen(lines, understand, enter, verdict)
            except (TimeoutError, BrokenPipeError, ConnectionResetError, EOFError):
                if self._closed:
                    raise LabError("the lab is closed") from None
                # Only the child could have stopped or killed it.
                return Crashed(stage[0], "the process that watches over the child is gone")

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
            assert self._control is not None
            rights = array.array("i", [descriptor.fileno()])
            message = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
            try:
                self._control.sendmsg([b"x"], message)
            except (BrokenPipeError, ConnectionResetError) as error:
                raise LabError("the process that holds torch died") from error

    def _start(self) -> None:
        if self._control is not None:
            self._control.close()
        ours, theirs = socket.socketpair()
        kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "move37.lab.zygote", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=kept | threads | {"PYTHONHASHSEED": "0"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the office only
        )
        theirs.close()
        ours.settimeout(START_SECONDS)
        with contextlib.suppress(ConnectionResetError):
            with ours.makefile("rb") as lines:
                said = lines.readline()
            if said:
                try:
                    self._look_at([Layer(*layer) for layer in json.loads(said)])
                except InputError:
                    ours.close()  # the zygote ends with it: no later call may use it
                    self._process.wait()
                    raise
                self._control = ours
                return
        status = self._process.wait()
        raise LabError(
            f"the process that holds torch ended with status {status} before it was ready; "
            "its message stands above: `move37 doctor` checks the installation"
        )


def _told(missing: Sequence[Layer]) -> str:
    return "; ".join(f"{layer.name}: {layer.told}" for layer in missing)


def _listen(
    lines: Iterable[bytes],
    understand: Callable[[object], Outcome | Audited],
    progress: Progress,
    verdict: Callable[[CheckResult], None],
) -> Outcome | Audited:
    """Reads a warden's lines up to the last one. The child's words are parsed, not believed."""
    stage, outcome, garbage = "start", None, ""
    for line in lines:
        message = json.loads(line)  # the warden's own words: a fault here is ours
        if "said" in message:
            try:
                said = json.loads(message["said"])
                if "stage" in said:
                    stage = clean(str(said["stage"]))[:100]
                    progress(stage)
                elif "check" in said:
                    verdict(from_json(CheckResult, json.dumps(clean(said["check"]))))
                else:
                    outcome = understand(clean(said["outcome"]))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                garbage = clean(f"{error}: {message['said'][:80]!r}")
            continue
        if garbage:
            return Crashed(stage, f"said what no examination says: {garbage}")
        if outcome is not None and message["detail"] == "exit status 0":
            return outcome
        told = {"exit": "ended by itself", "signal": "was killed"}.get(message["ended"], "ended")
        printed = clean(message["printed"]).strip()[-500:]
        reason = f"the process {told}: {message['detail']}"
        if message["ended"] == "time":
            reason = f"time limit: {message['detail']}"
        return Crashed(stage, f"{reason}\n{printed}" if printed else reason)
    raise EOFError("the warden ended without its last word")


def clean(data: Any) -> Any:
    """Returns JSON data whose texts can be stored and printed: no control characters."""
    if isinstance(data, str):
        text = data.encode(errors="replace").decode()
        return "".join(c for c in text if c in "\n\t" or c.isprintable())
    if isinstance(data, list):
        return [clean(item) for item in data]
    if isinstance(data, dict):
        return {key: clean(item) for key, item in data.items()}
    return data


def _outcome(data: object, assignment: Assignment) -> Outcome:
    """Returns the outcome; raises ValueError unless it is one that this assignment can have."""
    outcome: Outcome = _one_of((Rejected, Crashed, Measured), data)
    if isinstance(outcome, Measured):
        _expect(tuple(check.check for check in outcome.checks), assignment.checks, "checks")
        due = [(seed, budget) for seed in assignment.seeds for budget in assignment.budgets]
        _expect(len(outcome.measurements), len(due), "number of measurements")
        for measurement, (seed, budget) in zip(outcome.measurements, due, strict=True):
            _expect((measurement.task, measurement.seed), (budget.task, seed), "measurement")
            steps = max(1, budget.tokens // (budget.batch * budget.length))
            places = [stop.tokens for stop in assignment.stops if stop.task == budget.task]
            whole = [steps * budget.batch * budget.length]
            if measurement.tokens not in (places if measurement.stopped else whole):
                raise ValueError(f"{measurement.tokens} tokens were not asked for")
            if not measurement.curve or measurement.curve[-1].tokens != measurement.tokens:
                raise ValueError("the curve does not end with the measurement")
    return outcome


def _audited(data: object, audit: Audit) -> Audited | Rejected | Crashed:
    """Returns the verdicts; raises ValueError unless they are those of the audit."""
    outcome: Audited | Rejected | Crashed = _one_of((Rejected, Crashed, Audited), data)
    if isinstance(outcome, Audited):
        _expect(tuple(check.check for check in outcome.checks), audit.checks, "checks")
    return outcome


def _one_of(kinds: tuple[type, ...], data: object) -> Any:
    """Returns the object of one of the kinds; raises ValueError for others, and without reason."""
    known = {kind.__name__: kind for kind in kinds}
    if not isinstance(data, dict) or data.get("type") not in known:
        raise ValueError("no outcome")
    outcome: Any = from_json(known[data["type"]], json.dumps(data))
    reason: object = True
    if isinstance(outcome, Rejected):
        reason = outcome.check and outcome.evidence
    elif isinstance(outcome, Crashed):
        reason = outcome.stage and outcome.error
    if not reason:
        raise ValueError("a failure without a reason")
    return outcome


def _expect(got: object, expected: object, what: str) -> None:
    if got != expected:
        raise ValueError(f"{what}: expected {expected}, got {got}")
