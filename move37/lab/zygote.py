"""The process from which examinations are forked: torch imported once, environment clean.

    office --control socket--> zygote --fork--> warden --fork--> child (candidate's program)
    office <-------- one socket per examination --------> warden <--pipe-- child

The zygote runs one thread and no torch operation, so that it can fork safely. For each request it
forks a warden. The warden never runs the candidate's program: it forks the child that does,
passes on the child's words as data, keeps time and amount, kills the child's whole process group
at the end, and tells the office how the child ended. When the office goes away, its sockets close,
and wardens and zygote end themselves with all that they started.

Covered: exceptions, exit, kill (of the warden too), time, memory, floods on the pipe and on stdout,
forks, threads, what is written to the child's folder; with `sandbox`, files, network and system
calls of the candidate's program. Linux only.
Not covered: what the child says of itself, see `sandbox`.
"""

import array
import contextlib
import ctypes
import gc
import json
import os
import resource
import select
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from move37.lab.sandbox import Confinement, confine, probe

# What a child may say in one examination; a reply has about 10 kB, and a stage is a line.
BYTES_LIMIT = 4 << 20
LINES_LIMIT = 10_000
TASKS_LIMIT = 64  # processes and threads that a child may have at a time
SCRATCH_BYTES, SCRATCH_FILES = 64 << 20, 1_000  # that a child may leave in its folder at a time
SWEEP_SECONDS = 1.0
STDOUT_KEPT = 2_000  # last bytes of a child's printing, kept as evidence when it dies
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main(control_fd: int) -> None:
    """Serves requests from the control socket until it closes."""
    from move37.lab import worker

    worker.prepare()
    gc.collect()
    gc.freeze()  # children then do not touch, hence not copy, what is shared
    control = socket.socket(fileno=control_fd)
    folder = tempfile.mkdtemp(prefix="move37-")  # of all children; they cannot list it
    layers = [[layer.name, layer.holds, layer.told] for layer in probe()]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the office's to handle
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # wardens are not waited for
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what outlives its warden comes to us
    control.sendall(json.dumps(layers).encode() + b"\n")
    wardens: set[int] = set()
    while True:
        readable, _, _ = select.select([control], [], [], SWEEP_SECONDS)
        wardens &= set(_children())
        _kill(set(_children()) - wardens)
        if not readable:
            continue
        message, descriptors = _receive(control)
        if not message:
            _end_all()
            _remove(folder)
            return
        warden_id = os.fork()
        wardens.add(warden_id)
        if warden_id == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            status = 1
            try:
                warden(socket.socket(fileno=descriptors[0]), worker.serve, folder)
                status = 0
            except BaseException:
                traceback.print_exc()  # our own fault: the office sees the socket close
                raise
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(descriptors[0])


def _end_all() -> None:
    """Kills the wardens, then what they leave behind."""
    deadline = time.monotonic() + 3
    while (left := set(_children())) and time.monotonic() < deadline:
        _kill(left)
        time.sleep(0.005)


def _kill(processes: Iterable[int]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    message, ancillary, _, _ = control.recvmsg(1, socket.CMSG_LEN(array.array("i").itemsize))
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return message, list(descriptors)


def warden(
    office: socket.socket,
    examine: Callable[[Any, Callable[[dict[str, Any]], None]], Any],
    folder: str,
) -> None:
    """Runs one examination in a child, and tells the office its words and how it ended.

    From the office comes one line, the assignment. To the office go lines of JSON: {"said": text}
    for each line of the child, and at last {"ended": "exit" | "signal" | "time" | "flood",
    "detail": text, "printed": text}.
    """
    with office.makefile("rb") as lines:
        request = json.loads(lines.readline())
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # grandchildren that lose their parent come to us
    scratch = tempfile.mkdtemp(dir=folder)  # the one folder that the child may write to
    words_in, words_out = os.pipe()
    printed_in, printed_out = os.pipe()
    child = os.fork()
    if child == 0:
        office.close()
        os.close(words_in)
        os.close(printed_in)
        _become_child(request, words_out, printed_out, scratch, examine)
    os.close(words_out)
    os.close(printed_out)
    try:
        pipes = words_in, printed_in
        ended, detail, printed = _watch(office, child, pipes, scratch, request["seconds"])
    finally:
        _kill_all(child)
        _remove(scratch)
    _say(office, {"ended": ended, "detail": detail, "printed": printed})


def _watch(
    office: socket.socket, child: int, pipes: tuple[int, int], scratch: str, seconds: float
) -> tuple[str, str, str]:
    """Passes on the child's words until it closes its pipe, dies, floods, or its time is over."""
    words, printed = pipes
    deadline = time.monotonic() + seconds
    tail, line, total, lines = b"", b"", 0, 0
    with selectors.DefaultSelector() as selector:
        selector.register(words, selectors.EVENT_READ)
        selector.register(printed, selectors.EVENT_READ)
        selector.register(office, selectors.EVENT_READ)
        open_pipes = {words, printed}
        while words in open_pipes:
            left = deadline - time.monotonic()
            if left <= 0:
                return "time", f"still running after {seconds:g} s", _text(tail)
            # Woken twice a second: a grandchild may hold the pipe of a child that is gone.
            for key, _ in selector.select(min(left, 0.5)):
                if key.fileobj is office:
                    if not office.recv(1):  # the office is gone
                        return "time", "the office closed", ""
                    continue
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fd)
                    open_pipes.discard(key.fd)
                elif key.fd == printed:
                    tail = (tail + data)[-STDOUT_KEPT:]
                else:
                    *complete, line = (line + data).split(b"\n")
                    total, lines = total + len(data), lines + len(complete)
                    if total > BYTES_LIMIT or lines > LINES_LIMIT:
                        told = f"said more than {BYTES_LIMIT >> 20} MiB or {LINES_LIMIT:,} lines"
                        return "flood", told, _text(tail)
                    for one in complete:
                        _say(office, {"said": _text(one)})
            status = _status(child)
            if status is not None and not _readable(words):
                return (*status, _text(tail))
            if _count_tasks() > TASKS_LIMIT:
                told = f"started more than {TASKS_LIMIT} processes and threads"
                return "flood", told, _text(tail)
            if not _is_small(scratch):
                told = f"wrote more than {SCRATCH_BYTES >> 20} MiB or {SCRATCH_FILES:,} files"
                return "flood", told, _text(tail)
    # The pipe is closed; the process ends now or is ended.
    for _ in range(100):
        status = _status(child)
        if status is not None:
            return (*status, _text(tail))
        time.sleep(0.005)
    return "exit", "closed its pipe and went on", _text(tail)


def _count_tasks() -> int:
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


def _is_small(folder: str) -> bool:
    """Returns whether all files below the folder are within the limits."""
    files, size, folders = 0, 0, [folder]
    while folders:
        # A folder may be locked, nested too deep to have a path, or gone: its entry has counted.
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                files += 1
                size += entry.stat(follow_symlinks=False).st_blocks * 512
                if files > SCRATCH_FILES or size > SCRATCH_BYTES:
                    return False
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
    return True


def _remove(folder: str) -> None:
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


def _status(child: int) -> tuple[str, str] | None:
    """Says how the child ended, or None while it runs. Does not reap it: its number stays taken."""
    info = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if info is None:
        return None
    if info.si_code == os.CLD_EXITED:
        return "exit", f"exit status {info.si_status}"
    known = info.si_status in set(signal.Signals)
    return "signal", signal.Signals(info.si_status).name if known else f"signal {info.si_status}"


def _readable(descriptor: int) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(0))


def _kill_all(child: int) -> None:
    """Kills the child's process group, and whatever of its offspring has come to us."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if ended == 0:
            _kill(_children())
            time.sleep(0.002)


def _children() -> list[int]:
    """Returns the processes whose parent is this one (Linux; elsewhere none are found)."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(number) for number in file.read().split()]
    except FileNotFoundError:
        return []


def _become_child(
    request: dict[str, Any],
    words: int,
    printed: int,
    scratch: str,
    examine: Callable[[Any, Callable[[dict[str, Any]], None]], Any],
) -> None:
    """Runs the examination in the sandbox and never returns."""
    status = 1
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        os.chdir(scratch)
        os.environ.clear()
        os.environ.update({"HOME": scratch, "TMPDIR": scratch})
        for descriptor in _open_descriptors() - {0, 1, 2, words}:
            with contextlib.suppress(OSError):  # the one that listed them is closed already
                os.close(descriptor)
        confine(
            Confinement(Path(scratch), request["bytes"], request["seconds"], request["devices"])
        )

        from move37.records import Assignment, Audit, from_json, to_data, to_json

        def say(data: dict[str, Any]) -> None:
            line = json.dumps(data, allow_nan=False).encode() + b"\n"
            while line:
                line = line[os.write(words, line) :]

        kind = {"assignment": Assignment, "audit": Audit}[request["kind"]]
        outcome = examine(from_json(kind, request["work"]), say)
        to_json(outcome)  # raises here, not in the office, if a number is NaN
        say({"outcome": to_data(outcome)})
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


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _say(office: socket.socket, data: dict[str, str]) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the office is gone
        office.sendall(json.dumps(data).encode() + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
