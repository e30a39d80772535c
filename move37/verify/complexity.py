"""Do work and memory grow slower than the square of the length? Counted, never timed.

Growth that stops is none: a window of 512 tokens is full only then. Where something grows from one
length to another, it is asked whether it goes on, at twice the length, and twice that.
What grows is looked for in the program line by line, in a second count that nobody else pays for.

Counted is what a model calls: tokens behind a norm, parameters as some steps of training leave
them, lengths that are drawn anew beside the usual ones; and, where decoding is offered, a step and
its state.
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
from torch import Tensor, nn

from move37.nn.counting import Work, bytes_of
from move37.records import CheckResult
from move37.verify.subject import (
    CHANGES_A_LEAF,
    TRAINED_SHARE,
    Call,
    Subject,
    failed,
    in_short,
    line_in,
    offers_decoding,
    passed,
    run,
    set_dice,
    takes_documents,
)

SHORT, LONG, FULL_LONG = 256, 1024, 4096
DOCUMENTS = (5, 13)  # how many are packed, at least and less than
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
# The usual loop over chunks reads x[:, n]: the gradient of each slice is as large as x, and they
# are added up, by these operators, in the backward pass of these nodes. Their sum grows by the
# square of the length.
OF_SLICES = frozenset(("add", "add_", "slice_backward", "select_backward"))
SLICE_NODES = frozenset(("SliceBackward0", "SelectBackward0"))
GRADIENT_OF_A_SLICE = " (gradient of a slice)"
# So much of the work at this length may be theirs. A loop over chunks of 64 that slices q, k and v
# spends a tenth at the least width of the presets, with gates and decays a fifth; one over tokens
# spends nearly all.
SLICE_SHARE, SLICE_LENGTH = 0.2, 2048
HINT = "; is there a loop over x[:, n]? The gradient of each slice is as large as x: use unbind"
# Of decoding: after how many tokens a step and its state are counted, as long as they grow.
POSITIONS = (16, 64, 256, 1024, 2048)
# What grows by less for each token than this part of what it grew by before, stops growing.
STEP_FALLS = 0.7
LEAST_GROWTH = 0.5  # bytes, or operations, for each token: less is a constant

# The names of a program's files are relative, those of libraries absolute.
_IN_PROGRAM = re.compile(r'File "(?!/)[^"]+\.py", (line \d+), in .*\n\s*(.*)')

Mode = Literal["eval", "train"]


class _Way(NamedTuple):
    """How a mixer is called while its work is counted."""

    mode: Mode = "train"
    batch: int = 1
    documents: int = 0  # how many each row holds; 0: none are named
    leaf: bool = False  # the input in train mode: a leaf, or what a norm returns
    autocast: bool = False  # then in float64, which stays so: no operator is lacking

    def __str__(self) -> str:
        rows = f", {self.batch} rows" if self.batch > 1 else ""
        documents = f", with {self.documents} documents" if self.documents else ""
        return f"{self.mode} mode{rows}{documents}{', autocast on' if self.autocast else ''}"


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
    Batches, odd lengths and documents may take another way through a program. A mixer that decodes
    claims a state, and a step, that do not grow in proportion to the place in the sequence.
    """
    for way, stages in _ways(subject):
        counted: list[tuple[int, Work]] = []
        for lengths in stages:
            counted += _count(subject, way, [(length, _Training()) for length in lengths])
            for _, work in counted:
                if work.unknown:
                    told = f"the cost of {', '.join(sorted(work.unknown))} is not known"
                    return failed("sub-quadratic", told)
            kinds = ("flops", "elements", "calls")
            grown = first_grown(counted, kinds, _counter(subject, way), way.batch)
            if not grown:
                slices = _of_slices(subject, way, counted)
                grown = slices.growth if slices and slices.share > SLICE_SHARE else None
            if grown:
                told = f"{grown.told} ({way}){_where(subject, grown, way)}"
                return failed("sub-quadratic", told + _loop_over_tokens(counted))
    if decoding := _decoding_grows(subject):
        return failed("sub-quadratic", decoding)
    (short, before), (long, after) = counted[0], counted[-1]
    ratio = after.total / long / (max(1, before.total) / short)
    told = f"work per token grows by {ratio:.2f} from T={short} to T={long}"
    told += _loop_over_tokens(counted)
    return passed("sub-quadratic", told + (f"; {slices}" if slices else ""))


def _loop_over_tokens(counted: Sequence[tuple[int, Work]]) -> str:
    """Says how many operators a loop over tokens calls, as "; a loop over tokens: ...", or ""."""
    (short, before), (long, after) = counted[0], counted[-1]
    loops = {  # of operators that do something: a view of each chunk is none
        name: (after.calls[name] - calls) / (long - short)
        for name, calls in before.calls.items()
        if after.flops[name] + after.elements[name]
    }
    # A loop over chunks calls each operator less than once a token.
    if max(loops.values(), default=0) < 1:
        return ""
    return f"; a loop over tokens: {sum(loops.values()):.0f} calls of operators per token"


class _Training(Work):
    """Counts apart what the gradients of slices take: see OF_SLICES."""

    def name_of(self, operator: str, inputs: Sequence[Tensor]) -> str:
        """Returns the operator, and whether it is part of the gradient of a slice.

        A sum of tensors of different shapes is not: it may be one over pairs.
        """
        if operator in OF_SLICES and len({x.shape for x in inputs}) == 1:
            node: Any = torch._C._current_autograd_node()
            # A function of the program's may be called like PyTorch's.
            own = isinstance(node, torch._C._FunctionBase)
            if node is not None and not own and node.name() in SLICE_NODES:
                return operator + GRADIENT_OF_A_SLICE
        return operator


class _Slices(NamedTuple):
    """What the gradients of slices take at SLICE_LENGTH, and what of them grows most."""

    share: float  # of all work, 0 to 1
    growth: "Growth"

    def __str__(self) -> str:
        return (
            f"gradients of slices x[:, n] grow with the square of the length, to {self.share:.1%} "
            f"of the work at T={SLICE_LENGTH}, {SLICE_SHARE:.0%} allowed: use unbind"
        )


def _of_slices(subject: Subject, way: _Way, counted: Sequence[tuple[int, Work]]) -> _Slices | None:
    """Returns what the gradients of slices take, if that grows faster than the length."""
    (short, before), (long, after) = counted[0], counted[-1]
    growth = _grown(before, after, "elements", short, long, way.batch, slices=True)
    if growth is None:
        return None
    share = _square_share(short, before, long, after)
    if long != SLICE_LENGTH and share <= 2 * SLICE_SHARE:  # else following is dear, and known
        ((_, at_length),) = _count(subject, way, [(SLICE_LENGTH, _Training())])
        share = _square_share(short, before, SLICE_LENGTH, at_length)
    told = f"{growth.told}; that is {share:.0%} of the work at T={SLICE_LENGTH}"
    told += f", {SLICE_SHARE:.0%} allowed{HINT}"
    return _Slices(share, growth._replace(told=told))


def _square_share(short: int, before: Work, long: int, after: Work) -> float:
    """Returns the share of the work at SLICE_LENGTH that grows by the square with slices.

    By the work for each token at two lengths, of the form a + b T.
    """

    def of_slices(work: Work) -> int:
        return sum(n for name, n in work.elements.items() if name.endswith(GRADIENT_OF_A_SLICE))

    rise = (of_slices(after) / long - of_slices(before) / short) / (long - short)
    all_rise = (after.total / long - before.total / short) / (long - short)
    return rise * SLICE_LENGTH / (after.total / long + all_rise * (SLICE_LENGTH - long))


class _Step(NamedTuple):
    """What decoding takes at a place in the sequence."""

    place: int  # tokens that were read
    state: int  # bytes
    work: float  # operations for a token
    unknown: str  # operators of unknown cost, or ""


@torch.no_grad()
def _decoding_grows(subject: Subject) -> str | None:
    """Says which of a decoding state and a step's work grows in proportion to the place."""
    mixer: Any = subject.near_its_own(0, TRAINED_SHARE, torch.float32)
    if not offers_decoding(mixer):
        return None
    tokens_TD = subject.tokens(0, 1, POSITIONS[-1] + 8)[0].float()
    try:
        mixer.step(tokens_TD[:1], mixer.initial_state(1))
    except NotImplementedError:
        return None  # `decoding` says so
    steps: list[_Step] = []
    try:
        for step in _steps(subject, mixer, tokens_TD):
            if step.unknown:
                return f"in decoding, the cost of {step.unknown} is not known"
            steps.append(step)
            kinds = [kind for kind in ("state", "work") if _goes_on(steps, kind)]
            if len(steps) > 1 and not kinds:
                return None
    except Exception as error:  # noqa: BLE001  whatever a step raises is the evidence
        return f"a step raises {in_short(error)} (see decoding)"
    kind, (*_, last) = kinds[0], steps
    rise = _rises(steps, kind)[-1]
    if kind == "state":
        return f"the state grows: {rise:,.0f} bytes per token, {last.state:,} at t={last.place}"
    return f"a step's work grows: by {rise:,.0f} per token, to {last.work:,.0f} at t={last.place}"


def _steps(subject: Subject, mixer: Any, tokens_TD: Tensor) -> Iterator[_Step]:
    """Yields what decoding takes at about each of POSITIONS.

    Two neighbours are counted: what happens once per chunk only is shared by both.
    """
    state, done = mixer.initial_state(1), 0
    for position in POSITIONS:
        place = position + subject.whole_number(0, 6, "step", position)
        for x_1D in tokens_TD[done : place - 2].split(1):
            _, state = mixer.step(x_1D, state)
        set_dice(0)
        with Work() as work:
            for x_1D in tokens_TD[place - 2 : place].split(1):
                _, state = mixer.step(x_1D, state)
        done = place
        yield _Step(place, bytes_of(state), work.total / 2, ", ".join(sorted(work.unknown)))


def _rises(steps: Sequence[_Step], kind: str) -> list[float]:
    """Returns by how much something grows for each token, between each place and the next."""
    return [
        (getattr(after, kind) - getattr(before, kind)) / (after.place - before.place)
        for before, after in pairwise(steps)
    ]


def _goes_on(steps: Sequence[_Step], kind: str) -> bool:
    """Returns True if something has grown for each token as much as before, at every place."""
    rises = _rises(steps, kind)
    return all(rise >= LEAST_GROWTH for rise in rises) and all(
        after >= STEP_FALLS * before for before, after in pairwise(rises)
    )


def _memory(subject: Subject) -> CheckResult:
    """Memory per token, asked for and saved for the backward pass, does not grow either."""
    counted: list[tuple[int, Work]] = []
    # Apart from the count of work: a program can tell that what is saved is watched.
    saved, way = True, _Way(leaf=bool(subject.whole_number(0, 2, "leaf")))
    short, odd, even = _drawn(subject)
    for lengths in _stages(subject, short, odd, (LONG, even)[subject.whole_number(0, 2, "even")]):
        works = [(length, _Training()) for length in lengths]
        try:
            counted += _count(subject, way, works, saved=saved)
        except RuntimeError as error:
            if "saved tensor hooks" not in str(error):
                raise
            saved = False  # torch.func within a forward allows no such count
            counted += _count(subject, way, [(length, _Training()) for length in lengths])
        grown = first_grown(counted, ("allocated", "saved"), _counter(subject, way, saved=saved))
        if not grown:
            # Each is freed as soon as it is added: so their work decides.
            slices = _of_slices(subject, way, counted)
            grown = slices.growth if slices and slices.share > SLICE_SHARE else None
        if grown:
            return failed("memory", grown.told + _where(subject, grown, way))
    (short, before), (long, after) = counted[0], counted[-1]
    note = f"; {slices}" if slices else ""
    if not after.saved:
        told = "bytes asked for per token do not grow; those saved are not known"
        return passed("memory", told + note)
    per_token = after.saved.total() / long
    ratio = per_token / max(1.0, before.saved.total() / short)
    told = f"{per_token:,.0f} bytes per token saved for the backward pass"
    return passed("memory", f"{told}, {ratio:.2f} times those at T={short}{note}")


def _drawn(subject: Subject) -> tuple[int, int, int]:
    """Returns a short length and two neighbours four times as long, an odd and an even one.

    A little above SHORT and LONG, no powers of two, no multiples of 4. Neighbours, so that chunks
    of any size are as many for both.
    """
    short = SHORT + 1 + 2 * subject.whole_number(0, 16, "short")
    odd = 4 * short + 1
    return short, odd, odd + 1


def _stages(subject: Subject, *lengths: int) -> Sequence[tuple[int, ...]]:
    """Returns lengths, by far the longest behind: what has grown by then is told before."""
    return (lengths, (FULL_LONG,)) if subject.thorough else (lengths,)


check_subquadratic = _at_its_length("sub-quadratic", _subquadratic)
check_memory = _at_its_length("memory", _memory)


def _ways(subject: Subject) -> Iterator[tuple[_Way, Sequence[tuple[int, ...]]]]:
    """Yields how it is called, and at which lengths; the usual training last, which is told.

    After a short length comes a long odd one, then an even one, or a whole number of chunks: what
    grows at one kind of length only has grown from the one before. Whole chunks come last, since
    what is padded takes more.
    """
    documents = takes_documents(subject)
    some = subject.whole_number(*DOCUMENTS, "documents") if documents else 0
    short, odd, even = _drawn(subject)
    if subject.thorough:
        yield _Way("eval"), _stages(subject, SHORT, LONG)
    yield _Way("eval"), ((short, odd, even),)
    yield _Way("eval", documents=some, autocast=True), ((short + 1, even),)
    if subject.thorough:
        if documents:
            yield _Way("eval", documents=some), ((short, odd),)
            yield _Way("train", documents=some), ((short, odd),)
        yield _Way("eval", autocast=True), ((short, odd),)
        yield _Way("eval", batch=2), ((short, odd),)
        yield _Way("train", batch=2), ((short, odd),)
        yield _Way("train", leaf=True), ((short, odd),)
    yield _Way("train"), _stages(subject, short + 1, even, LONG)


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
        ((_, work),) = _count(subject, way, [(length, _Training())], saved=saved)
        return work

    return count


def _stops_growing(count: CountAt, grown: "Growth", at: Work, rows: int) -> bool:
    """Says whether the same kind of work of all operators stops growing at longer inputs.

    Each doubling of a square doubles it again; what fills a window grows by less each time. What is
    padded to whole chunks may jump once, at some length, so growth has to go on twice. Lengths
    leave the same remainder by 64: what grows at odd ones only is followed to odd ones. What
    goes wrong on the way, for want of memory, leaves what was found; so does what would be dear.
    """
    length, last, went_on = grown.long, at, 0
    # Between neighbours, of which the second takes another way, it has grown as from one doubling.
    factor = grown.factor ** (1 / max(1.0, math.log2(grown.long / grown.short)))
    while 2 * length <= MOST_DOUBLED and last.allocated.total() <= MOST_FOLLOWED:
        before, length = length, 2 * length + -length % 64
        try:
            work = count(length)
        except Exception:  # noqa: BLE001  mostly of memory: what grew stands
            return False
        now = _most_growth(last, work, grown.kind, before, length, rows)
        if now <= DOUBLED_GROWTH:
            return True
        went_on = went_on + 1 if now > FALLS * factor else 0
        if went_on == 2:
            return False
        factor, last = now, work
    return False


def _most_growth(before: Work, after: Work, kind: str, short: int, long: int, batch: int) -> float:
    """Returns by which factor work per token grows at most, of operators that matter."""
    most = 1.0
    for name, total in _judged(after, kind):
        if total / long / _rows(kind, batch) > NEGLIGIBLE[kind]:
            then = getattr(before, kind)[name] / short
            most = max(most, total / long / then if then else math.inf)
    return most


def _judged(work: Work, kind: str, *, slices: bool = False) -> Iterator[tuple[str, int]]:
    """Yields an amount for each operator; what gradients of slices take is judged apart."""
    for name, total in getattr(work, kind).items():
        if name.endswith(GRADIENT_OF_A_SLICE) == slices:
            yield name, total


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
    before: Work,
    after: Work,
    kind: str,
    short: int,
    long: int,
    batch: int,
    *,
    slices: bool = False,
) -> Growth | None:
    """Returns the operator that exceeds what is allowed by most, if one does."""
    found, most = None, 0.0
    rows = _rows(kind, batch)
    for name, total in _judged(after, kind, slices=slices):
        then, now = getattr(before, kind)[name] / short / rows, total / long / rows
        if now > NEGLIGIBLE[kind] and now - GROWTH * then > most:
            most = now - GROWTH * then
            digits = 1 if now < 10 else 0
            told = f"{name}: {then:,.{digits}f} {UNITS[kind]} per token at T={short}, "
            told += f"{now:,.{digits}f} at T={long}"
            if then:
                told += f": {now / then:.2f} times, {GROWTH} allowed"
            found = Growth(kind, now / then if then else math.inf, name, short, long, told)
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


class _Lines(_Training):
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
    for length, work in works:
        try:
            try:
                _count_call(subject, way, length, work, saved=saved)
            except RuntimeError as error:
                if not way.leaf or CHANGES_A_LEAF not in str(error):
                    raise
                work.clear()
                _count_call(subject, way._replace(leaf=False), length, work, saved=saved)
        except Exception as error:
            raise _Raised(f"at T={length} ({way}) it raises {in_short(error)}") from error
        counted.append((length, work))
    return counted


def _count_call(subject: Subject, way: _Way, length: int, work: Work, *, saved: bool) -> None:
    trains = way.mode == "train"
    how = Call(trains, ("leaf" if way.leaf else "graph") if trains else "none", way.autocast)
    mixer = _mixer(subject, way).train(trains)
    x_BTD = subject.tokens(0, way.batch, length)
    given_BTD = how.give(x_BTD if way.autocast else x_BTD.float())
    places_BT = torch.arange(length).expand(way.batch, -1)
    documents_BT = places_BT * way.documents // length if way.documents else None

    def keep(tensor: Tensor) -> Tensor:
        work.save(tensor)
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, _as_it_was)
    with work, hooks if saved else contextlib.nullcontext():
        with (
            torch.set_grad_enabled(trains),
            torch.autocast("cpu", torch.bfloat16, enabled=way.autocast),
        ):
            y_BTD = run(mixer, given_BTD, documents_BT, copied=True)
        if y_BTD.requires_grad:
            y_BTD.sum().backward()


def _mixer(subject: Subject, way: _Way) -> nn.Module:
    """Returns a mixer whose parameters lie where some steps of training leave them.

    Where it is made double, then by its own method: a program may note that it is, or is not.
    """
    mixer = subject.near_its_own(0, TRAINED_SHARE, torch.float32)
    return mixer.double() if way.autocast else mixer


def _as_it_was(tensor: Any) -> Any:
    return tensor
