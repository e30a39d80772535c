"""Bytes of a file that processes hold, so that one knows of the others and of their ends.

A byte is let go by its holder or, however that ended, by the system. The holder is an open file,
so that two threads of one process keep each other out as two processes do.
"""

import errno
import fcntl
import os
import struct
from pathlib import Path

_LAYOUT = "hhqqi"  # struct flock: type, from where, start, length, process


class Bytes:
    """An open file whose bytes can be held, one by one; nothing is written into it."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Raises OSError if it cannot be opened."""
        # Held open until close: a byte is held as long as the file is open.
        self._file = path.open("ab" if create else "rb")

    def close(self) -> None:
        """Lets go of all."""
        self._file.close()

    def hold(self, place: int) -> None:
        """Takes the byte; raises BlockingIOError if somebody else has it."""
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK, place))
        except PermissionError as error:  # POSIX allows it where the byte is taken
            raise BlockingIOError(errno.EAGAIN, "taken") from error

    def wait_for(self, place: int) -> None:
        """Takes the byte as soon as nobody else has it."""
        fcntl.fcntl(self._file, fcntl.F_OFD_SETLKW, _lock(fcntl.F_WRLCK, place))

    def let_go(self, place: int) -> None:
        """Gives the byte back."""
        fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _lock(fcntl.F_UNLCK, place))

    def is_held(self, place: int) -> bool:
        """Says whether somebody else has the byte."""
        told = fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, _lock(fcntl.F_WRLCK, place))
        kind: int = struct.unpack(_LAYOUT, told)[0]
        return kind != fcntl.F_UNLCK


def _lock(kind: int, place: int) -> bytes:
    return struct.pack(_LAYOUT, kind, os.SEEK_SET, place, 1, 0)
