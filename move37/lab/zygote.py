"""The process from which examinations are forked: torch imported once, environment clean.

    office --control socket--> zygote --fork--> warden --fork--> main process: measures, or audits
                                                       --fork--> candidate's processes
    office <-------- one socket per examination --------> warden <--pipe-- main process

The zygote runs one thread and no torch operation, so that it can fork safely. For each request it
forks a warden. The warden never runs the candidate's program: it forks the processes that do (see
`family`), passes on the main process's words as data, keeps time and amount, kills all at the end,
and tells the office how the main process ended. When the office goes away, its sockets close, and
wardens and zygote end themselves with all that they started.

Covered: exceptions, exit, kill (of the warden too), time, memory, floods on the pipe and on stdout,
forks, threads, what is written to the scratch folders; with `sandbox`, files, network and system
calls of the candidate's program; with `measuring`, its numbers. Linux only.
"""

import array
import contextlib
import gc
import json
import os
import select
import selectors
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from move37.lab.family import (
    PR_SET_CHILD_SUBREAPER,
    SCRATCH_BYTES,
    SCRATCH_FILES,
    Act,
    Family,
    Parent,
    children,
    count_tasks,
    ending,
    is_small,
    kill,
    prctl,
    remove,
)
from move37.lab.sandbox import Confinement, probe, readable
from move37.lab.words import BYTES_LIMIT, FLOOD, LINES_LIMIT, End

TASKS_LIMIT = 64  # processes and threads that an examination may have at a time
SWEEP_SECONDS = 1.0
LAST_WORDS_SECONDS = 2.0  # for a program to say where it stands when its time is over
LOOK_SECONDS = 0.1  # at the least, between two counts of processes and files: 5 ms each


def main(control_fd: int) -> None:
    """Serves requests from the control socket until it closes."""
    # Not anew in each child. The tasks are not among it: no candidate's process may hold them.
    from move37.lab import answering, measuring, worker  # noqa: F401

    worker.prepare()
    gc.collect()
    gc.freeze()  # children then do not touch, hence not copy, what is shared
    control = socket.socket(fileno=control_fd)
    folder = tempfile.mkdtemp(prefix="move37-")  # of all children; they cannot list it
    readable()  # found once, for all children
    layers = [[layer.name, layer.holds, layer.told] for layer in probe()]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the office's to handle
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # wardens are not waited for
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # what outlives its warden comes to us
    told = {"layers": layers, "folder": folder}
    control.sendall(json.dumps(told).encode() + b"\n")
    wardens: set[int] = set()
    while True:
        ready, _, _ = select.select([control], [], [], SWEEP_SECONDS)
        # The list of children may lack one while another ends.
        wardens = {one for one in wardens if os.path.exists(f"/proc/{one}")}
        kill(set(children()) - wardens)
        if not ready:
            continue
        message, descriptors = _receive(control)
        if not message:
            _end_all()
            remove(folder)
            return
        warden_id = os.fork()
        wardens.add(warden_id)
        if warden_id == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            status = 1
            try:
                office = socket.socket(fileno=descriptors[0])
                warden(office, folder)
                status = 0
            except BaseException:  # our own fault, or the machine's
                _say(office, End("fault", traceback.format_exc(), "")._asdict())
                raise
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(descriptors[0])


def _end_all() -> None:
    """Kills the wardens, then what they leave behind."""
    deadline = time.monotonic() + 3
    while (left := set(children())) and time.monotonic() < deadline:
        kill(left)
        time.sleep(0.005)


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    message, ancillary, _, _ = control.recvmsg(1, socket.CMSG_LEN(array.array("i").itemsize))
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return message, list(descriptors)


def warden(office: socket.socket, folder: str) -> None:
    """Runs one examination in processes of its own, and tells the office its words and its end.

    From the office comes one line, the request. To the office go lines of JSON: {"said": text}
    for each line of the main process, and at last how it ended, as `End` has it; "fault" if the
    warden itself failed.
    """
    with office.makefile("rb") as lines:
        request = json.loads(lines.readline())
    seconds = request["seconds"] + 2 * LAST_WORDS_SECONDS  # the warden's limit comes first
    bounds = Confinement(Path(folder), request["bytes"], seconds, request["devices"])
    family = Family(bounds, _act(_answer, request))
    try:
        act = _act(MAIN[request["kind"]], request)
        words = family.start_main(act)
        end = _watch(office, family, words, request)
    finally:
        family.end_all()
    _say(office, end._asdict())


def _watch(office: socket.socket, family: Family, words: int, request: dict[str, Any]) -> End:
    """Passes on the words until their pipe closes, the process dies, floods, or time is over.

    The program of an audit may say then where it stands.
    """
    seconds, asked = request["seconds"], request["kind"] != "audit"

    def end(ended: str, detail: str) -> End:
        return End(ended, detail, family.last_printed())

    looked = time.monotonic()  # when processes and files were counted
    line, total, lines = b"", 0, 0
    with selectors.DefaultSelector() as selector:
        for source in (words, family.control, office):
            selector.register(source, selectors.EVENT_READ)
        while True:
            left = seconds + LAST_WORDS_SECONDS * (asked and request["kind"] == "audit")
            left -= family.elapsed()
            if left <= 0 and asked:
                return end("time", f"still running after {seconds:g} s")
            if left <= 0:
                family.ask_for_last_words()
                asked = True
                continue
            # Woken often: one that prints waits for it, and a grandchild may hold the pipe of a
            # child that is gone.
            for key, _ in selector.select(min(left, LOOK_SECONDS)):
                if key.fileobj is office:
                    with contextlib.suppress(ConnectionResetError):
                        if office.recv(1):
                            continue
                    return end("time", "the office closed")
                if key.fileobj is family.control:
                    if not family.answer():
                        selector.unregister(family.control)
                elif data := os.read(words, 65536):
                    *complete, line = (line + data).split(b"\n")
                    total, lines = total + len(data), lines + len(complete)
                    if total > BYTES_LIMIT or lines > LINES_LIMIT:
                        return end("flood", FLOOD)
                    for one in complete:
                        _say(office, {"said": one.decode(errors="replace")})
                else:  # the process ends now, or is ended
                    return family.end_of(family.main)
            family.read_printed()
            status = ending(family.main)
            if status is not None and not _readable(words):
                return end(*status)
            if time.monotonic() < looked + LOOK_SECONDS:
                continue
            looked = time.monotonic()
            if count_tasks() > TASKS_LIMIT:
                return end("flood", f"started more than {TASKS_LIMIT} processes and threads")
            if not is_small(family.folders):
                told = f"wrote more than {SCRATCH_BYTES >> 20} MiB or {SCRATCH_FILES:,} files"
                return end("flood", told)


def _readable(descriptor: int) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(0))


# ---------------------------------------------------------------- what the processes do


def _act(what: Callable[..., None], request: dict[str, Any]) -> Act:
    return lambda *descriptors: what(request, *descriptors)


def _measure(request: dict[str, Any], words: int, asking: int) -> None:
    """Measures an assignment; the candidate's program is in other processes."""
    from move37.lab.measuring import measure
    from move37.records import Assignment, from_json, to_data, to_json

    assignment = from_json(Assignment, request["work"])
    start = Parent(asking).start
    outcome, killed = measure(assignment, start, lambda stage: _tell(words, {"stage": stage}))
    to_json(outcome)  # raises here, not in the office, if a number is NaN
    _tell(words, {"outcome": to_data(outcome), "killed": killed})


def _answer(request: dict[str, Any], descriptor: int) -> None:
    """Holds the candidate's program, and answers the process that measures or audits."""
    from move37.lab.answering import Answers
    from move37.lab.link import Link
    from move37.records import Assignment, Audit, from_json

    kind: Any = Assignment if request["kind"] == "assignment" else Audit
    Answers(from_json(kind, request["work"]), Link(descriptor)).serve()


def _audit(request: dict[str, Any], words: int, asking: int) -> None:
    """Lets a process verify its own program, and recomputes what can be recomputed here."""
    from move37.lab.measuring import audit
    from move37.records import Audit, from_json, to_data

    audited, killed = audit(
        from_json(Audit, request["work"]),
        Parent(asking).start,
        lambda stage: _tell(words, {"stage": stage}),
        lambda so_far: _tell(words, {"so far": to_data(so_far)}),
    )
    _tell(words, {"outcome": to_data(audited), "killed": killed})


MAIN = {"assignment": _measure, "audit": _audit}


def _tell(words: int, data: dict[str, Any]) -> None:
    line = json.dumps(data, allow_nan=False).encode() + b"\n"
    while line:
        line = line[os.write(words, line) :]


def _say(office: socket.socket, data: dict[str, str]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the office is gone
        office.sendall(json.dumps(data).encode() + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
