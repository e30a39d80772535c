"""A Ctrl-C is heard, also where Python forgets it."""

import signal
import subprocess
import sys

import pytest

from move37 import interrupts

FORGETFUL = """
import os, signal
from move37 import interrupts

class Forgets:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        for _ in range(10_000):
            pass

signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored around the tests
interrupts.catch()
Forgets()
print("forgotten", flush=True)
interrupts.stop_if_asked()
print("never heard of it")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_stop_that_a_destructor_swallows_is_heard_between_two_steps(name: str) -> None:
    code = FORGETFUL.format(name=name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "forgotten\n"
    assert done.returncode in (130, -signal.SIGINT)


def test_nobody_who_was_not_asked_stops() -> None:
    interrupts.stop_if_asked()


def test_what_is_ignored_stays_ignored() -> None:
    code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    code += "from move37 import interrupts\ninterrupts.catch()\n"
    code += "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN"
    subprocess.run([sys.executable, "-c", code], check=True)
