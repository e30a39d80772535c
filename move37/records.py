"""The data that flows through move37: frozen, JSON in and out, strict at the door.

    Brief --propose--> Proposal --hash--> Candidate --examine--> Outcome --> Record --> Lesson

The words, one per thing:

mixer         the token-mixing layer that is searched
brief         what the researcher is given: parent, references, lessons, earlier failures
proposal      motivation and program together, by one author
candidate     a proposal with its identity, the hash of its program
assignment    a candidate with the checks, tasks, seeds and budgets it is to go through
check         a yes/no fact about a mixer, with evidence
measurement   a number, with its task, seed and budget
outcome       how an examination ended: Rejected, Crashed or Measured
audit         a program with the checks that it goes through, all of them, and no training
record        one examination of one candidate, with its provenance; never changes
call          one request to a language model, with its tokens, seconds and dollars
judgement     what a language model thinks of a measured candidate
fallback      an answer of a language model that was of no use, and why
lesson        what the analyst concluded from a record; lies beside it
experiment    one or more records: refused attempts, repairs, and further seeds of one idea
baseline      a published mixer, measured the same way
"""

import functools
import hashlib
import json
import math
import types
import typing
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar

T = TypeVar("T")

Verdict = Literal["passed", "failed", "not offered", "not tried", "not run"]
Level = Literal["quick", "full"]


# The baseline that everything is compared with.
REFERENCE = "DeltaNet"


class InputError(Exception):
    """The user's input cannot be used. The message says: expected, got, what to do."""


class RunFailed(RuntimeError):
    """The run cannot go on, or has shown nothing; the message says why. No fault of the input."""


# ---------------------------------------------------------------- what the researcher makes


@dataclass(frozen=True)
class Proposal:
    """A motivation and the program that carries it out."""

    name: str
    motivation: str
    source: str  # the text of one Python file
    origin: str  # "baseline", "composer", or the name of another researcher
    components: tuple[str, ...] = ()  # "gene:value" words, see research.composer
    knowledge: tuple[str, ...] = ()  # ids of the knowledge entries it draws on
    prompt_version: str = ""  # of the prompt that a language model answered, "" for none

    @property
    def is_baseline(self) -> bool:
        """Says whether it is a published mixer, measured for comparison."""
        return self.origin == "baseline"


@dataclass(frozen=True)
class Candidate:
    """A proposal and its identity."""

    id: str  # the first 12 hexadecimal digits of the SHA-256 of the source
    proposal: Proposal
    fingerprint: str = ""  # equal for programs that do the same; "" if nobody has taken it

    @classmethod
    def of(cls, proposal: Proposal, fingerprint: str = "") -> "Candidate":
        """Returns the candidate whose identity is the hash of the proposed program."""
        identity = hashlib.sha256(proposal.source.encode()).hexdigest()[:12]
        return cls(identity, proposal, fingerprint)


# ---------------------------------------------------------------- what the lab is told


@dataclass(frozen=True)
class ModelSize:
    """The language model that a mixer is placed in."""

    width: int
    heads: int
    layers: int
    parameters: int  # without embeddings; met within 1 % by sizing the MLP


@dataclass(frozen=True)
class TaskBudget:
    """What one training run on one task may use."""

    task: str
    tokens: int  # training tokens
    batch: int  # sequences per step
    length: int  # tokens per sequence
    learning_rate: float
    model: ModelSize


@dataclass(frozen=True)
class Stop:
    """Training on `task` ends at `tokens` if the held-out loss there is above `worst_loss`."""

    task: str
    tokens: int
    worst_loss: float


@dataclass(frozen=True)
class Assignment:
    """Everything one examination needs; the lab knows nothing else."""

    source: str
    checks: tuple[str, ...]
    excused: tuple[str, ...]  # checks that may fail: a quadratic baseline says so by declaration
    level: Level
    budgets: tuple[TaskBudget, ...]
    seeds: tuple[int, ...]
    stops: tuple[Stop, ...]
    device: str  # "cpu" or "cuda"
    # For the whole examination, without the time that it waits for a busy processor.
    limit_seconds: float
    limit_bytes: int  # memory, beyond what the lab itself holds


@dataclass(frozen=True)
class SourceFile:
    """A file of a folder."""

    path: str  # below the folder, with slashes
    text: str


@dataclass(frozen=True)
class Folder:
    """The files beside a program of several files, which it may import."""

    name: str
    program: str  # the path of the program's own file below the folder
    others: tuple[SourceFile, ...]


@dataclass(frozen=True)
class Audit:
    """A program and the checks that it goes through, whether or not one fails."""

    source: str
    mixer: str | None  # the name of its class; None: the only one
    checks: tuple[str, ...]
    level: Level
    width: int
    heads: int
    limit_seconds: float  # for loading and all checks, as above
    limit_bytes: int  # memory, beyond what the lab itself holds
    folder: Folder | None = None  # of a program that is several files


def seed_of(source: str) -> int:
    """Returns the seed of all random choices in the checks of a program: its text decides it.

    So an examination can be repeated, and no program holds what follows from its own text.
    """
    return int.from_bytes(hashlib.sha256(source.encode()).digest()[:4]) >> 8


# ---------------------------------------------------------------- what the lab answers


@dataclass(frozen=True)
class CheckResult:
    """A yes/no fact about a mixer, with its evidence in one sentence."""

    check: str
    verdict: Verdict
    evidence: str
    seconds: float = 0.0
    # Computed anew in processes that never loaded the program (see lab.recompute).
    recomputed: bool = False


@dataclass(frozen=True)
class CurvePoint:
    """The held-out result after `tokens` training tokens."""

    tokens: int
    loss: float  # nats per scored token
    value: float  # the task's metric


@dataclass(frozen=True)
class Measurement:
    """One trained model's number; nothing without its seed and its budget."""

    task: str
    seed: int
    metric: str  # "accuracy" (share, 0 to 1, higher is better) or "bits per byte" (lower)
    value: float
    tokens: int  # training tokens used
    stopped: bool  # ended early, clearly behind the baselines
    seconds: float  # wall clock of the training
    peak_bytes: int  # most memory held, beyond the idle lab's
    state_bytes: int | None  # decoding state of all layers for one sequence; None: not offered
    flops_per_token: float  # forward pass of the whole model
    parameters: int  # without embeddings
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class Rejected:
    """A check said no: the program is not what a sequence mixer has to be."""

    check: str
    evidence: str
    checks: tuple[CheckResult, ...] = ()


@dataclass(frozen=True)
class Crashed:
    """The examination did not come to an end by itself."""

    stage: str  # where it was: "load", "verify: causality", "train: recall, seed 0", ...
    error: str


@dataclass(frozen=True)
class Measured:
    """The only outcome that has a fitness."""

    checks: tuple[CheckResult, ...]
    measurements: tuple[Measurement, ...]


Outcome = Rejected | Crashed | Measured


@dataclass(frozen=True)
class Audited:
    """Every check's verdict; a check that raised has failed, and says what was raised.

    Where the time ran out, or the program ended its process, the check that it was in has failed,
    and those after it were not run. Before the first check that is a row of its own, "load".
    """

    mixer: str  # the name of its class; "" if the program was not loaded
    checks: tuple[CheckResult, ...]
    printed_lines: int = 0  # by the program, while it was loaded and checked

    @property
    def passed(self) -> bool:
        """Says whether some check passed, and no other failed or was not run."""
        verdicts = {check.verdict for check in self.checks}
        return "passed" in verdicts and verdicts <= {"passed", "not offered", "not tried"}


# ---------------------------------------------------------------- what is kept


@dataclass(frozen=True)
class Provenance:
    """Where a record comes from."""

    preset: str
    seeds: tuple[int, ...]
    code_version: str
    device: str
    hardware: str
    started_at: str  # ISO 8601, UTC
    seconds: float  # wall clock of the examination
    model: str = ""  # the language model that proposed, "" for none
    prompt_version: str = ""
    prompt_tokens: int = 0
    dollars: float = 0.0


@dataclass(frozen=True)
class Record:
    """One examination of one candidate."""

    experiment: int  # counts from 0; the baselines come first
    step: int  # counts the records of one experiment
    candidate: Candidate
    parents: tuple[str, ...]  # candidate ids
    outcome: Outcome
    provenance: Provenance

    def same_as(self, other: "Record") -> bool:
        """Says whether both hold the same result; time, memory peak and machine are left out."""
        return _essence(self) == _essence(other)


@dataclass(frozen=True)
class Lesson:
    """What was learnt from one experiment."""

    experiment: int
    candidate: str  # id
    text: str  # two or three sentences for a person
    weakness: str  # what to work on next, in the words that knowledge triggers use
    improved: tuple[str, ...] = ()  # tasks, against the parent
    worsened: tuple[str, ...] = ()


@dataclass(frozen=True)
class Brief:
    """What the researcher is given for one attempt of one experiment."""

    experiment: int
    attempt: int
    dice: str  # seeds every random choice of this attempt
    parent: Record | None  # None while the search is cold
    references: tuple[Record, ...]
    lessons: tuple[Lesson, ...]  # newest last
    failures: tuple[Record, ...]  # this experiment's earlier attempts, refused or crashed


@dataclass(frozen=True)
class Call:
    """One request to a language model, answered or not."""

    role: str
    model: str
    input_tokens: int
    output_tokens: int
    seconds: float
    dollars: float | None  # None: the price is not known
    experiment: int | None
    failed: str  # "" or why, in one sentence
    is_worst_case: bool = False  # of tokens and dollars, since the endpoint did not tell them
    doubt: str = ""  # why the endpoint's count of tokens was not believed, in one sentence


@dataclass(frozen=True)
class Judgement:
    """What a language model thinks of a measured candidate: taste, beside what is counted.

    Grades from 0 to 10, DeltaNet being 5: means over the answers.
    """

    experiment: int
    candidate: str  # id
    model: str
    answers: int  # that could be read; three are asked for
    innovation: float
    complexity: float  # 10: no part could be left out
    correctness: float  # 10: the program carries out what the motivation says
    spread: float  # 0 to 10, the widest gap between two answers in one grade


@dataclass(frozen=True)
class Fallback:
    """No usable answer came from a language model in this role: what is computed stood in."""

    role: str
    model: str
    experiment: int
    reason: str


# ---------------------------------------------------------------- JSON, both ways


def _essence(record: Record) -> Record:
    """The record with everything that time and machine decide set to zero."""
    outcome = record.outcome
    if isinstance(outcome, Crashed):
        # How far it came and what it printed depend on the moment at which it was ended.
        outcome = Crashed(outcome.stage.split(",")[0], "")
    else:
        checks = tuple(replace(check, seconds=0.0) for check in outcome.checks)
        outcome = replace(outcome, checks=checks)
    if isinstance(outcome, Measured):
        timeless = (replace(m, seconds=0.0, peak_bytes=0) for m in outcome.measurements)
        outcome = replace(outcome, measurements=tuple(timeless))
    provenance = replace(record.provenance, hardware="", started_at="", seconds=0.0)
    candidate = replace(record.candidate, fingerprint="")  # as this Python takes it
    return replace(record, candidate=candidate, outcome=outcome, provenance=provenance)


def to_data(value: Any) -> Any:
    """Returns plain JSON data; a dataclass becomes an object that names its type."""
    if is_dataclass(value) and not isinstance(value, type):
        return to_data(_object(value))
    if isinstance(value, tuple | list):
        return [to_data(item) for item in value]
    if isinstance(value, dict):
        return {key: to_data(item) for key, item in value.items()}
    return value


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, type) or not is_dataclass(value):
        raise TypeError(f"a {type(value).__name__} is no JSON data")
    names = (f.name for f in fields(value))
    return {"type": type(value).__name__, **{name: getattr(value, name) for name in names}}


_LINE = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_object)


def fields_of(value: Any) -> dict[str, Any]:
    """Returns the fields of a dataclass as JSON data, without the name of its type."""
    return {key: item for key, item in to_data(value).items() if key != "type"}


def to_json(value: Any) -> str:
    """Returns one line of strict JSON; raises ValueError for a number that JSON lacks (NaN)."""
    return _LINE.encode(value)


def from_json(kind: type[T], text: str) -> T:
    """Returns the `kind` that `text` holds; raises ValueError for anything else.

    Strict: a missing or unknown key, a wrong type, or NaN is an error that names its place, and
    shows nothing of what the text holds. Only a key whose field has a default may be missing: what
    an older version wrote lacks it.
    """

    def refuse(constant: str) -> typing.NoReturn:
        raise ValueError(f"{constant} is not a JSON number")

    try:
        return from_data(kind, json.loads(text, parse_constant=refuse))
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None


def from_data(kind: type[T], data: Any) -> T:
    """Returns the `kind` that JSON data holds; raises ValueError as `from_json` does."""
    result: T = _decode(kind, data, kind.__name__)
    return result


def _decode(kind: Any, data: Any, place: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(typing.get_args(kind), data, place)
    if origin is tuple:
        if not isinstance(data, list):
            raise ValueError(f"{place}: expected a list, got {_show(data)}")
        item = typing.get_args(kind)[0]
        return tuple(_decode(item, x, f"{place}[{i}]") for i, x in enumerate(data))
    if origin is Literal:
        if data not in typing.get_args(kind):
            raise ValueError(f"{place}: expected one of {typing.get_args(kind)}, got {_show(data)}")
        return data
    if is_dataclass(kind):
        return _decode_dataclass(kind, data, place)
    if kind is float and type(data) is int and abs(data) <= 2**53:
        return float(data)
    if type(data) is not kind or (kind is float and not math.isfinite(data)):
        raise ValueError(f"{place}: expected {kind.__name__}, got {_show(data)}")
    return data


def _decode_union(kinds: tuple[Any, ...], data: Any, place: str) -> Any:
    if data is None and type(None) in kinds:
        return None
    named = {kind.__name__: kind for kind in kinds if kind is not type(None)}
    if isinstance(data, dict):
        name = data.get("type")
        if not isinstance(name, str) or name not in named:
            raise ValueError(f"{place}: expected one of {sorted(named)}, got {_show(data)}")
        return _decode(named[name], data, place)
    plain = [kind for kind in named.values() if not is_dataclass(kind)]
    if len(plain) != 1:
        raise ValueError(f"{place}: expected one of {sorted(named)}, got {_show(data)}")
    return _decode(plain[0], data, place)


def _decode_dataclass(kind: Any, data: Any, place: str) -> Any:
    if not isinstance(data, dict) or data.get("type") != kind.__name__:
        raise ValueError(f"{place}: expected a {kind.__name__}, got {_show(data)}")
    hints, needed = _keys(kind)
    given = data.keys() - {"type"}
    if not needed <= given <= hints.keys():
        missing, unknown = sorted(needed - given), sorted(given - hints.keys())
        told = f"missing keys {missing}" if missing else f"unknown keys: {len(unknown)}"
        raise ValueError(f"{place}: {told}")
    return kind(**{name: _decode(hints[name], data[name], f"{place}.{name}") for name in given})


@functools.cache
def _keys(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Returns the fields of a dataclass with their types, and those without a default."""
    hints = typing.get_type_hints(kind)
    needed = frozenset(f.name for f in fields(kind) if f.default is MISSING)
    return {f.name: hints[f.name] for f in fields(kind)}, needed


def _show(data: Any) -> str:
    """Names the kind of what came, and never shows it: it may be a piece of a record."""
    if data is None:
        return "null"
    kinds = {bool: "true or false", str: "text", list: "a list", dict: "another object"}
    return kinds.get(type(data), "another number")
