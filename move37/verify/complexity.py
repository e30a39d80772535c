"""Do work and memory grow slower than the square of the length? Counted, never timed.

Growth that stops is none: a window of 512 tokens is full only then. Where something grows from one
length to another, it is asked whether it goes on, at twice the length, and twice that.
What grows is looked for in the program line by line, in a second count that nobody else pays for.
"""

import contextlib
import functools
import math
import re
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from move37.nn.counting import Work
from move37.records import CheckResult
from move37.verify.subject import (
    FILE,
    Subject,
    failed,
    in_short,
    line_in,
    passed,
    run,
    takes_documents,
)

SHORT, LONG, FULL_LONG = 256, 1024, 4096
ODD = (251, 1021)  # primes: no chunk size divides them, and a program can tell
MOST_CALLS = 20_000  # of operators, for which it is not too dear to ask which line each belongs to
# Work per token may grow by this when T grows four times: T log T gives 10 / 8 = 1.25, T^2 gives 4.
GROWTH = 1.35
# And by this when it grows twice.
DOUBLED_GROWTH, FALLS, MOST_DOUBLED = 1.2, 0.9, 8192
MOST_FOLLOWED = 1 << 29  # bytes asked for in a call; what asks for more is not followed further
# Less per token than this at the longer length is a constant, not a growth.
NEGLIGIBLE = {"flops": 4, "elements": 4, "calls": 0.1, "allocated": 16, "saved": 16}
UNITS = {kind: kind for kind in NEGLIGIBLE} | {
    "allocated": "bytes allocated",
    "saved": "bytes saved",
}
# The operators by which the gradients of slices add up: the usual loop over chunks pays them.
OF_SLICES = ("add", "add_", "slice_backward", "select_backward")
HINT = "; is there a loop over x[:, n]? The gradient of each slice is as large as x: use unbind"

_IN_PROGRAM = re.compile(rf'File "{re.escape(FILE)}", (line \d+), in .*\n\s*(.*)')

Mode = Literal["eval", "train"]


class _Way(NamedTuple):
    """How a mixer is called while its work is counted."""

    mode: Mode = "train"
    batch: int = 1
    documents: bool = False

    def __str__(self) -> str:
        rows = f", {self.batch} rows" if self.batch > 1 else ""
        return f"{self.mode} mode{rows}{', with documents' if self.documents else ''}"


class _Raised(RuntimeError):
    """What a mixer raised while it was counted, and at which length."""


def _at_its_length(
    name: str, check: Callable[[Subject], CheckResult]
) -> Callable[[Subject], CheckResult]:
    """Returns a check that says at which length the mixer raised something."""

    @functools.wraps(check)
    def told(subject: Subject) -> CheckResult:
        try:
            return check(subject)
        except _Raised as error:
            return failed(name, str(error))

    return told


def _subquadratic(subject: Subject) -> CheckResult:
    """Work per token is (all but) the same at several lengths, as it is trained and as it is used.

    Each operator is judged by itself, so that a small quadratic term does not hide behind a
    large linear one; so is the number of its calls. An operator whose cost is unknown is refused.
    Batches, odd lengths and documents may take another way through a program.
    """
    for way, stages in _ways(subject):
        counted: list[tuple[int, Work]] = []
        for lengths in stages:
            counted += _count(subject, way, [(length, Work()) for length in lengths])
            for _, work in counted:
                if work.unknown:
                    told = f"the cost of {', '.join(sorted(work.unknown))} is not known"
                    return failed("sub-quadratic", told)
            kinds = ("flops", "elements", "calls")
            if grown := first_grown(counted, kinds, _counter(subject, way), way.batch):
                told = f"{grown.told} ({way}){_where(subject, grown, way)}"
                return failed("sub-quadratic", told)
    (short, before), (long, after) = counted[0], counted[-1]
    ratio = after.total / long / (max(1, before.total) / short)
    told = f"work per token grows by {ratio:.2f} from T={short} to T={long}"
    loops = {  # of operators that do something: a view of each chunk is none
        name: (after.calls[name] - calls) / (long - short)
        for name, calls in before.calls.items()
        if after.flops[name] + after.elements[name]
    }
    # A loop over chunks calls each operator less than once a token.
    if max(loops.values(), default=0) >= 1:
        told += f"; a loop over tokens: {sum(loops.values()):.0f} calls of operators per token"
    return passed("sub-quadratic", told)


def _memory(subject: Subject) -> CheckResult:
    """Memory per token, asked for and saved for the backward pass, does not grow either."""
    counted: list[tuple[int, Work]] = []
    # Apart from the count of work: a program can tell that what is saved is watched.
    saved, way = True, _Way()
    for lengths in _stages(subject):
        works = [(length, Work()) for length in lengths]
        try:
            counted += _count(subject, way, works, saved=saved)
        except RuntimeError as error:
            if "saved tensor hooks" not in str(error):
                raise
            saved = False  # torch.func within a forward allows no such count
            counted += _count(subject, way, [(length, Work()) for length in lengths])
        if grown := first_grown(
            counted, ("allocated", "saved"), _counter(subject, way, saved=saved)
        ):
            return failed("memory", grown.told + _where(subject, grown, way))
    (short, before), (long, after) = counted[0], counted[-1]
    if not after.saved:
        return passed("memory", "bytes asked for per token do not grow; those saved are not known")
    per_token = after.saved.total() / long
    ratio = per_token / max(1.0, before.saved.total() / short)
    told = f"{per_token:,.0f} bytes per token saved for the backward pass"
    return passed("memory", f"{told}, {ratio:.2f} times those at T={short}")


def _stages(subject: Subject) -> Sequence[tuple[int, ...]]:
    """Returns lengths, the longest behind: what has grown by then is told, before memory ends."""
    return ((SHORT, LONG), (FULL_LONG,)) if subject.thorough else ((SHORT, LONG),)


check_subquadratic = _at_its_length("sub-quadratic", _subquadratic)
check_memory = _at_its_length("memory", _memory)


def _ways(subject: Subject) -> Iterator[tuple[_Way, Sequence[tuple[int, ...]]]]:
    """Yields how it is called, and at which lengths; the usual training last, which is told."""
    documents = takes_documents(subject)
    if subject.thorough:
        yield _Way("eval"), _stages(subject)
    yield _Way("eval"), (ODD,)
    if documents:
        yield _Way("eval", documents=True), ((SHORT, LONG),)
    if subject.thorough:
        if documents:
            yield _Way("train", documents=True), ((SHORT, LONG),)
        yield _Way("eval", batch=2), (ODD,)
        yield _Way("train", batch=2), (ODD,)
    yield _Way("train"), _stages(subject)


# Returns the work at a length.
CountAt = Callable[[int], Work]


def first_grown(
    counted: Sequence[tuple[int, Work]], kinds: Sequence[str], count: CountAt, rows: int = 1
) -> "Growth | None":
    """Returns what grows first by more than is allowed, and goes on growing at greater lengths.

    `counted` holds lengths and the work there, shortest first; `count` returns the work at others.
    """
    for (short, before), (long, after) in pairwise(counted):
        for kind in kinds:
            grown = _grown(before, after, kind, short, long, rows)
            if grown and not _stops_growing(count, grown, after, rows):
                return grown
    return None


def _counter(subject: Subject, way: _Way, *, saved: bool = False) -> CountAt:
    def count(length: int) -> Work:
        ((_, work),) = _count(subject, way, [(length, Work())], saved=saved)
        return work

    return count


def _stops_growing(count: CountAt, grown: "Growth", at: Work, rows: int) -> bool:
    """Says whether the same kind of work of all operators stops growing at longer inputs.

    Each doubling of a square doubles it again; what fills a window grows by less each time. What
    goes wrong on the way, for want of memory, leaves what was found; so does what would be dear.
    """
    length, last = grown.long, at
    factor = grown.factor ** (1 / math.log2(grown.long / grown.short))
    while 2 * length <= MOST_DOUBLED and last.allocated.total() <= MOST_FOLLOWED:
        try:
            work = count(2 * length)
        except Exception:  # noqa: BLE001  mostly of memory: what grew stands
            return False
        length *= 2
        now = _most_growth(last, work, grown.kind, length, rows)
        if now <= DOUBLED_GROWTH:
            return True
        if now > FALLS * factor:
            return False
        factor, last = now, work
    return False


def _most_growth(before: Work, after: Work, kind: str, length: int, batch: int) -> float:
    """Returns by which factor work per token grows at most, of operators that matter."""
    most = 1.0
    for name, total in getattr(after, kind).items():
        if total / length / _rows(kind, batch) > NEGLIGIBLE[kind]:
            then = getattr(before, kind)[name]
            most = max(most, total / (2 * then) if then else math.inf)
    return most


def _rows(kind: str, batch: int) -> int:
    """Returns by how many rows work is shared: an operator is called once for all of them."""
    return 1 if kind == "calls" else batch


class Growth(NamedTuple):
    """What grows by more than is allowed, between which lengths, and by how much per token."""

    kind: str
    factor: float
    operator: str
    short: int
    long: int
    told: str


def _grown(
    before: Work, after: Work, kind: str, short: int, long: int, batch: int
) -> Growth | None:
    """Returns the operator that exceeds what is allowed by most, if one does."""
    found, most = None, 0.0
    rows = _rows(kind, batch)
    for name, total in getattr(after, kind).items():
        then, now = getattr(before, kind)[name] / short / rows, total / long / rows
        if now > NEGLIGIBLE[kind] and now - GROWTH * then > most:
            most = now - GROWTH * then
            digits = 1 if now < 10 else 0
            told = f"{name}: {then:,.{digits}f} {UNITS[kind]} per token at T={short}, "
            told += f"{now:,.{digits}f} at T={long}"
            if then:
                told += f": {now / then:.2f} times, {GROWTH} allowed"
            hint = HINT if name in OF_SLICES else ""
            found = Growth(kind, now / then if then else math.inf, name, short, long, told + hint)
    return found


def _where(subject: Subject, grown: Growth, way: _Way) -> str:
    """Says at which line of the program it grows most, as "; line 12: y = f(x)", if it is known.

    What was found stands, whatever goes wrong in this second count.
    """
    try:
        line = _line_that_grows(subject, grown, way)
    except Exception as error:  # noqa: BLE001  the program's, or one of the machinery that asks it
        return f"; where, is not known: {in_short(error)}"
    return f"; {line}" if line else ""


def _line_that_grows(subject: Subject, grown: Growth, way: _Way) -> str:
    lengths, calls = (grown.short, grown.long), 0
    saved = grown.kind == "saved"
    for backward in (False, True):  # which line an operator is the gradient of is dear to know
        if backward and (way.mode == "eval" or calls > MOST_CALLS):
            break
        found = [_Lines(grown.kind, grown.operator) for _ in lengths]
        works = list(zip(lengths, found, strict=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this is slow
            with (
                torch.autograd.detect_anomaly(check_nan=False)
                if backward
                else contextlib.nullcontext()
            ):
                _count(subject, way, works, saved=saved)
        calls = found[-1].calls.total()
        before, after = (lines.by_line for lines in found)
        excess = {
            line: total / grown.long - GROWTH * before[line] / grown.short
            for line, total in after.items()
        }
        worst = max(excess, key=excess.__getitem__, default="")
        if worst and excess[worst] > 0:
            return worst
    return ""


class _Lines(Work):
    """Counts one kind of work of one operator by the line of the program that asked for it."""

    def __init__(self, kind: str, operator: str) -> None:
        super().__init__()
        self._kind, self._operator = kind, operator
        self.by_line: Counter[str] = Counter()

    def save(self, tensor: Tensor) -> None:
        """Counts a tensor that is kept for the backward pass."""
        before = self.saved.total()
        super().save(tensor)
        if self._kind == "saved":
            self._add(self.saved.total() - before)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        counter = getattr(self, self._kind)
        before = counter[self._operator]
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if self._kind != "saved" and counter[self._operator] > before:
            self._add(counter[self._operator] - before)
        return result

    def _add(self, much: int) -> None:
        line = line_in(traceback.extract_stack()) or _line_of_gradient()
        if line and much:
            self.by_line[line] += much


def _line_of_gradient() -> str:
    """Returns the line whose gradient is being computed, where anomalies are looked for."""
    node: Any = torch._C._current_autograd_node()
    trail = "" if node is None else "".join(node.metadata.get("traceback_", ()))
    found = _IN_PROGRAM.findall(trail)
    return ": ".join(found[-1])[:90] if found else ""


def _count(
    subject: Subject, way: _Way, works: Iterable[tuple[int, Work]], *, saved: bool = False
) -> list[tuple[int, Work]]:
    """Returns the work at each length: forward and backward in train mode, else forward only.

    The input hangs on the graph, as in a model. `saved` counts what is saved for that too.
    """
    counted = []
    trains = way.mode == "train"
    for length, work in works:
        mixer = subject.build().train(trains)
        x_BTD = torch.randn(way.batch, length, subject.width, requires_grad=trains)
        places_BT = torch.arange(length).expand(way.batch, -1)
        documents_BT = places_BT // (length // 2 + 1) if way.documents else None

        def keep(tensor: Tensor, work: Work = work) -> Tensor:
            work.save(tensor)
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(keep, _as_it_was)
        try:
            with work, hooks if saved else contextlib.nullcontext():
                with torch.set_grad_enabled(trains):
                    y_BTD = run(mixer, x_BTD, documents_BT)
                if y_BTD.requires_grad:
                    y_BTD.sum().backward()
        except Exception as error:
            raise _Raised(f"at T={length} ({way}) it raises {in_short(error)}") from error
        counted.append((length, work))
    return counted


def _as_it_was(tensor: Any) -> Any:
    return tensor
