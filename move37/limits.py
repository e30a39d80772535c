"""What the machine has to leave to this process and to the lab, asked before anything starts.

Covered: the limit of address space (`ulimit -v`), and a folder for temporary files. Without them
libraries end the process, or an examination fails, with a message about something else.
Not covered: memory that the machine promises and does not have.
"""

import resource
import tempfile

from move37.records import InputError

# numpy, sqlite and rich: 300 MB are enough, 100 MB are not (x86-64, numpy 2).
OFFICE_BYTES = 300 << 20
# The process that holds torch: 0.64 GB with PyTorch 2.13 for the CPU.
TORCH_BYTES = 1 << 30


def check_address_space(bytes_needed: int = OFFICE_BYTES) -> None:
    """Raises InputError if `ulimit -v` allows this process less than that."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY and allowed < bytes_needed:
        raise InputError(
            f"`ulimit -v` allows {allowed / 2**30:.1f} GiB of address space: expected at least "
            f"{bytes_needed / 2**30:.1f} GiB. Raise it: ulimit -v {-(-bytes_needed // 1024)}"
        )


def check_lab(examination_bytes: int) -> None:
    """Raises InputError if the lab would have no room for one examination of that size.

    A program that is given less memory than its limit says would be refused for want of memory,
    as if that were its own fault.
    """
    check_address_space(TORCH_BYTES + examination_bytes)
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:  # it names the folders that it has tried
        raise InputError(
            f"no folder for temporary files can be written ({error.strerror}): make one of them "
            "writable, or name another in TMPDIR"
        ) from None
