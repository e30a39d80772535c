"""Ctrl-C and the signals that mean the same.

Python raises KeyboardInterrupt wherever it is. Where that is a destructor, the exception is told
and forgotten; so the wish is kept, and whoever works in steps asks for it between two.
"""

import signal
import threading
from types import FrameType
from typing import NoReturn

_asked = threading.Event()


def catch() -> None:
    """Lets Ctrl-C and SIGTERM stop this process; what is ignored stays so, as behind `nohup`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def stop(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    """Raises KeyboardInterrupt, and keeps that it was asked for."""
    _asked.set()
    raise KeyboardInterrupt


def stop_if_asked() -> None:
    """Raises KeyboardInterrupt if it was asked for; nobody may have heard it."""
    if _asked.is_set():
        raise KeyboardInterrupt
