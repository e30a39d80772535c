"""Records come back from JSON as they went in, and nothing else comes in."""

import dataclasses
import inspect
import json
import math
import types
import typing
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from move37 import records
from move37.records import (
    Candidate,
    CheckResult,
    Crashed,
    CurvePoint,
    Measured,
    Measurement,
    Outcome,
    Proposal,
    Provenance,
    Record,
    Rejected,
    from_json,
    to_json,
)

KINDS: list[type[Any]] = [
    kind
    for _, kind in inspect.getmembers(records, dataclasses.is_dataclass)
    if isinstance(kind, type)
]


# ---------------------------------------------------------------- one record, to be varied

CHECK = CheckResult("causality", "passed", "66 cuts, nothing moved", seconds=0.5)
MEASUREMENT = Measurement(
    task="language",
    seed=0,
    metric="bits per byte",
    value=2.5,
    tokens=2000,
    stopped=False,
    seconds=12.0,
    peak_bytes=1000,
    state_bytes=None,
    flops_per_token=1e6,
    parameters=100_000,
    curve=(CurvePoint(1000, 2.0, 3.0), CurvePoint(2000, 1.7, 2.5)),
)
PROVENANCE = Provenance(
    preset="laptop",
    seeds=(0,),
    code_version="0.1",
    device="cpu",
    hardware="a laptop",
    started_at="2025-01-01T00:00:00Z",
    seconds=30.0,
)
PROPOSAL = Proposal("Echo", "It may help.", "print('mix')\n", "composer", ("decay:none",), ())
RECORD = Record(
    experiment=7,
    step=0,
    candidate=Candidate.of(PROPOSAL),
    parents=("0123456789ab",),
    outcome=Measured((CHECK,), (MEASUREMENT,)),
    provenance=PROVENANCE,
)


def with_measurement(**changes: Any) -> Record:
    return replace(RECORD, outcome=Measured((CHECK,), (replace(MEASUREMENT, **changes),)))


def with_check(**changes: Any) -> Record:
    return replace(RECORD, outcome=Measured((replace(CHECK, **changes),), (MEASUREMENT,)))


def with_provenance(**changes: Any) -> Record:
    return replace(RECORD, provenance=replace(PROVENANCE, **changes))


def edited(change: Callable[[dict[str, Any]], Any]) -> str:
    """The record as JSON, with one thing in it changed by hand."""
    data = json.loads(to_json(RECORD))
    change(data)
    return json.dumps(data)


# ---------------------------------------------------------------- any value of any type


def anything(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type, as its annotations say."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([anything(one) for one in arguments])
    if origin is tuple:
        return st.lists(anything(arguments[0]), max_size=2).map(tuple)
    if origin is Literal:
        return st.sampled_from(arguments)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return st.builds(
            typing.cast(Callable[..., Any], kind),
            **{field.name: anything(hints[field.name]) for field in dataclasses.fields(kind)},
        )
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=8),
        int: st.integers(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return plain[kind]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_type_comes_back_as_it_went_in(kind: type[Any]) -> None:
    @settings(max_examples=12, deadline=None, derandomize=True, database=None)
    @given(value=anything(kind))
    def comes_back(value: Any) -> None:
        assert from_json(kind, to_json(value)) == value

    comes_back()


def test_a_record_comes_back_with_the_types_that_it_had() -> None:
    assert repr(from_json(Record, to_json(RECORD))) == repr(RECORD)


@pytest.mark.parametrize(
    "outcome", [Rejected("causality", "leaks"), Crashed("load", "no"), Measured((), ())]
)
def test_an_outcome_comes_back_as_the_type_that_it_was(outcome: Outcome) -> None:
    record = replace(RECORD, outcome=outcome)
    assert type(from_json(Record, to_json(record)).outcome) is type(outcome)


def test_json_is_one_line() -> None:
    assert "\n" not in to_json(replace(RECORD, outcome=Crashed("load", "line one\nline two")))


def test_a_whole_number_serves_as_a_float() -> None:
    point = from_json(CurvePoint, '{"type":"CurvePoint","tokens":1,"loss":2,"value":3}')
    assert type(point.loss) is float


# ---------------------------------------------------------------- strict at the door


def measurement(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data["outcome"]["measurements"][0]
    return found


def check(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data["outcome"]["checks"][0]
    return found


def test_what_an_older_version_wrote_is_read_with_defaults() -> None:
    def forget(data: dict[str, Any]) -> None:
        del data["candidate"]["proposal"]["prompt_version"], data["provenance"]["dollars"]

    assert from_json(Record, edited(forget)) == RECORD


# what is wrong -> how it comes about, and what the error has to say
FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "unknown key": (lambda d: d.update(colour="red"), "Record: unknown keys: 1"),
    "missing key": (lambda d: d.pop("step"), r"Record: missing keys \['step'\]"),
    "missing key within": (
        lambda d: d["provenance"].pop("hardware"),
        r"Record\.provenance: missing keys \['hardware'\]",
    ),
    "text for a number": (lambda d: d.update(step="0"), r"Record\.step: expected int"),
    "fraction for an integer": (lambda d: d.update(step=0.0), r"Record\.step: expected int"),
    "truth for an integer": (lambda d: d.update(step=True), r"Record\.step: expected int"),
    "nothing for an integer": (lambda d: d.update(step=None), r"Record\.step: expected int"),
    "text for a list": (lambda d: d.update(parents="abc"), r"Record\.parents: expected a list"),
    "number in a list of texts": (
        lambda d: d.update(parents=["a", 1]),
        r"Record\.parents\[1\]: expected str",
    ),
    "another type": (lambda d: d.update(type="Lesson"), "expected a Record"),
    "nothing for a candidate": (lambda d: d.update(candidate=None), "expected a Candidate"),
    "list for a candidate": (lambda d: d.update(candidate=[]), "expected a Candidate"),
    "nothing for an outcome": (lambda d: d.update(outcome=None), r"Record\.outcome: expected one"),
    "text for an outcome": (lambda d: d.update(outcome="good"), r"Record\.outcome: expected one"),
    "unknown outcome": (lambda d: d["outcome"].update(type="Guessed"), "outcome: expected one"),
    "outcome without a type": (lambda d: d["outcome"].pop("type"), "outcome: expected one"),
    "list for an outcome's type": (
        lambda d: d["outcome"].update(type=[]),
        "outcome: expected one",
    ),
    "unknown verdict": (lambda d: check(d).update(verdict="maybe"), "verdict: expected one of"),
    "list for a verdict": (lambda d: check(d).update(verdict=[]), "verdict: expected one of"),
    "fraction for bytes": (lambda d: measurement(d).update(state_bytes=1.5), "state_bytes: exp"),
    "number for a truth": (lambda d: measurement(d).update(stopped=0), "stopped: expected bool"),
    "text for a value": (lambda d: measurement(d).update(value="1"), "value: expected float"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_says_what_was_expected_and_where(fault: str) -> None:
    change, told = FAULTS[fault]
    with pytest.raises(ValueError, match=told):
        from_json(Record, edited(change))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_is_not_finite_does_not_come_in(number: str) -> None:
    with pytest.raises(ValueError):
        from_json(CurvePoint, f'{{"type":"CurvePoint","tokens":1,"loss":{number},"value":0.5}}')


def test_a_whole_number_too_large_for_a_float_does_not_come_in() -> None:
    with pytest.raises(ValueError):
        from_json(CurvePoint, f'{{"type":"CurvePoint","tokens":1,"loss":{10**400},"value":0.5}}')


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_does_not_go_out(number: float) -> None:
    with pytest.raises(ValueError):
        to_json(CurvePoint(1, number, 0.5))


@pytest.mark.parametrize("text", ["", "{", "nul", "{}", "[]", "null", "3", '"Record"', "{} {}"])
def test_what_is_not_a_record_does_not_come_in(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(Record, text)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_without_end_does_not_come_in(opening: str, closing: str) -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        from_json(Record, opening * 100_000 + "1" + closing * 100_000)


def test_no_depth_of_nesting_is_another_error() -> None:
    """Just short of what the parser takes, telling what came must not fail either."""
    for depth in range(1, 1200, 3):
        with pytest.raises(ValueError):
            from_json(Record, "[" * depth + "]" * depth)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    data=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["type", "tokens", "loss", "value"]), inner)
        ),
        max_leaves=8,
    ),
    key=st.sampled_from(["outcome", "candidate", "step", "parents", "provenance", "type"]),
)
def test_any_other_json_is_a_value_error(data: Any, key: str) -> None:
    text = edited(lambda record: record.update({key: data}))
    try:
        from_json(Record, text)
    except ValueError:
        return
    assert to_json(from_json(Record, text)) == json.dumps(json.loads(text), separators=(",", ":"))


# ---------------------------------------------------------------- identity and sameness


def test_identity_of_a_candidate_is_the_hash_of_its_program() -> None:
    # printf 'abc' | sha256sum
    assert Candidate.of(replace(PROPOSAL, source="abc")).id == "ba7816bf8f01"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Other"},
        {"motivation": "Another."},
        {"origin": "team"},
        {"components": ("decay:scalar",)},
        {"knowledge": ("mamba",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_identity_of_a_candidate_depends_on_nothing_but_its_program(
    change: dict[str, Any],
) -> None:
    assert Candidate.of(replace(PROPOSAL, **change)).id == Candidate.of(PROPOSAL).id


def test_another_program_is_another_candidate() -> None:
    other = replace(PROPOSAL, source=PROPOSAL.source + " ")
    assert Candidate.of(other).id != Candidate.of(PROPOSAL).id


@pytest.mark.parametrize(
    "other",
    [
        with_measurement(seconds=99.0),
        with_measurement(peak_bytes=99),
        with_check(seconds=99.0),
        with_provenance(hardware="a cluster"),
        with_provenance(started_at="2031-12-31T00:00:00Z"),
        with_provenance(seconds=99.0),
    ],
)
def test_the_same_result_at_another_time_on_another_machine_is_the_same(other: Record) -> None:
    assert other != RECORD
    assert other.same_as(RECORD)


@pytest.mark.parametrize(
    "other",
    [
        with_measurement(value=2.51),
        with_measurement(seed=1),
        with_measurement(tokens=1999),
        with_measurement(stopped=True),
        with_measurement(state_bytes=0),
        with_measurement(flops_per_token=2e6),
        with_measurement(curve=()),
        with_check(verdict="failed"),
        with_provenance(seeds=(0, 1)),
        with_provenance(code_version="0.2"),
        with_provenance(preset="gpu-20m"),
        replace(RECORD, experiment=8),
        replace(RECORD, step=1),
        replace(RECORD, parents=()),
        replace(RECORD, outcome=Crashed("load", "no")),
        replace(RECORD, outcome=Rejected("causality", "leaks", (CHECK,))),
        replace(RECORD, candidate=Candidate.of(replace(PROPOSAL, source="other"))),
    ],
)
def test_another_result_is_not_the_same(other: Record) -> None:
    assert not other.same_as(RECORD)


def test_the_time_of_a_rejection_does_not_count() -> None:
    first, second = (
        replace(RECORD, outcome=Rejected("causality", "leaks", (replace(CHECK, seconds=s),)))
        for s in (1.0, 2.0)
    )
    assert first.same_as(second)


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECORD.step = 1  # type: ignore[misc]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_type_is_frozen(kind: Any) -> None:
    assert kind.__dataclass_params__.frozen
