"""Standard output and error, when whoever reads them goes away or their disk is full.

Covered: a reader that closes its end (`move37 top | head -1`) changes nothing: what is written
later is dropped, the command goes on, and its exit status is that of its work. Any other failure
(a full disk) is reported once, on standard error; the work goes on, since the store keeps it, and
the exit status is 2, because the output is incomplete. A failing standard error is ignored: no
place is left for a message.
Not covered: what a library writes to the file descriptors without Python.
"""

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

from move37.records import InputError


class _Raw(io.FileIO):
    """Writes to a file descriptor, and drops what cannot be written from the first failure on."""

    def __init__(self, descriptor: int, on_failure: Callable[[OSError], None]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._on_failure = on_failure
        self._is_lost = False

    def write(self, data: Any, /) -> int:
        """Returns the number of bytes that were written or dropped; raises nothing.

        A descriptor that does not block and is not ready is waited for by the buffer above.
        """
        if not self._is_lost:
            try:
                return super().write(data)
            except OSError as error:
                self._is_lost = True
                if error.errno != errno.EPIPE:
                    self._on_failure(error)
        return len(memoryview(data).cast("B"))


class Streams:
    """The standard streams of this process, made safe; `output_failed` says how that went."""

    def __init__(self) -> None:
        self.output_failed = False
        sys.stderr = _safe(sys.stderr, lambda error: None)
        sys.stdout = _safe(sys.stdout, self._report)

    def _report(self, error: OSError) -> None:
        self.output_failed = True
        print(  # noqa: T201
            f"move37: the output cannot be written ({error.strerror}): what follows is lost, and "
            "the exit status will be 2. Free the space, or send the output elsewhere",
            file=sys.stderr,
        )

    def flush(self) -> None:
        """Writes what is still in the buffers."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


def take() -> Streams:
    """Makes the standard streams safe; raises InputError if there is no standard output.

    The number of a closed descriptor would go to the next file that is opened, which a library's
    message could then overwrite: so all three are open afterwards, on the null device.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    has_output = sys.stdout is not None  # Python's own sign that it was closed at the start
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  for the whole process
    streams = Streams()
    if not has_output:
        raise InputError(
            "standard output is closed: expected a terminal, a file or a pipe. To see nothing, "
            "send it to /dev/null"
        )
    return streams


def _safe(stream: TextIO, on_failure: Callable[[OSError], None]) -> TextIO:
    """Returns a stream to the same descriptor that never raises because of what it writes to.

    A sign that the encoding lacks becomes another one. What is no file of the system (a test's
    stand-in) is returned as it is.
    """
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    raw = _Raw(stream.fileno(), on_failure)
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering or stream.write_through,
    )
