"""Presets: named, typed sets of budgets. A preset says all that a run needs but seed and place."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from move37.catalogue import mixer_source
from move37.records import (
    REFERENCE,
    InputError,
    Measured,
    ModelSize,
    Proposal,
    Record,
    TaskBudget,
    to_data,
    to_json,
)
from move37.search.decisions import Ruler
from move37.search.pool import Selection

CHECKS = (
    "fits",
    "interface",
    "builds",
    "repeatable",
    "finite",
    "precision",
    "restorable",
    "independence",
    "causality",
    "prefix",
    "gradients",
    "sub-quadratic",
    "memory",
    "documents",
    "padding",
    "decoding",
    "chunking",
)


def are_all_checks(names: Iterable[str]) -> bool:
    """Returns True if these are all checks of a mixer.

    `fits` is about a task's budget of parameters, and is asked before a training only.
    """
    return set(names) >= set(CHECKS) - {"fits"}


@dataclass(frozen=True)
class Baseline:
    """A published mixer of `move37.nn.mixers`, measured first, as every candidate is."""

    name: str
    file: str
    motivation: str
    components: tuple[str, ...] = ()  # what the composer may build on; () has no children
    excused: tuple[str, ...] = ()  # checks that it fails by declaration

    def proposal(self) -> Proposal:
        """Returns the baseline as a candidate; its source is the text of its file."""
        source = mixer_source(self.file)
        return Proposal(self.name, self.motivation, source, "baseline", self.components)


# Fields of a preset that describe it and decide no record.
_WORDS = ("numbers_warning", "seeds_warning")


@dataclass(frozen=True)
class Preset:
    """Budgets, baselines and selection of one kind of run."""

    name: str
    summary: str
    budgets: tuple[TaskBudget, ...]
    seeds: tuple[int, ...]  # the first for all; the others where the first leaves it open
    proposals: int
    attempts: int  # programs per experiment: the first, and repairs of what was refused
    selection: Selection
    ruler: Ruler | None
    limit_seconds: float  # wall clock of one examination
    limit_bytes: int = 2 << 30
    baselines: tuple[Baseline, ...] = ()
    # What has to stand beside every number of this preset, a sentence or two each; "" for nothing.
    numbers_warning: str = ""
    seeds_warning: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What has to stand beside every number of this preset."""
        return tuple(text for text in (self.numbers_warning, self.seeds_warning) if text)

    @property
    def default_store(self) -> Path:
        """Where the store of a run lies, if no other place is named."""
        return Path("runs") / self.name / "store.sqlite"

    @property
    def reference(self) -> Baseline:
        """The baseline that all are compared with."""
        return next(baseline for baseline in self.baselines if baseline.name == REFERENCE)

    @property
    def fingerprint(self) -> str:
        """Changes with whatever decides the records: budgets, seeds, selection, baselines."""
        values = to_data(replace(self, summary="", proposals=0, limit_seconds=0.0))
        decisive = to_json({name: values[name] for name in values if name not in _WORDS})
        sources = "".join(baseline.proposal().source for baseline in self.baselines)
        return hashlib.sha256((decisive + sources).encode()).hexdigest()[:8]


BASELINES = (
    Baseline(
        "DeltaNet",
        "delta_net.py",
        "Baseline and reference. A memory that corrects what it recalls. arXiv:2406.06484",
        (
            "input:convolution",
            "features:silu",
            "keys:unit",
            "decay:none",
            "update:delta",
            "norm:head",
            "gate:none",
        ),
    ),
    Baseline(
        "GatedDeltaNet",
        "gated_delta_net.py",
        "Baseline. A memory that forgets and corrects itself. arXiv:2412.06464",
        (
            "input:convolution",
            "features:silu",
            "keys:unit",
            "decay:scalar",
            "update:delta",
            "norm:head",
            "gate:output",
        ),
    ),
    Baseline(
        "GatedLinearAttention",
        "gated_linear_attention.py",
        "Baseline. Each key channel forgets at its own rate. arXiv:2312.06635",
        (
            "input:convolution",
            "features:identity",
            "keys:free",
            "decay:channel",
            "update:add",
            "norm:head",
            "gate:output",
        ),
    ),
    Baseline(
        "SoftmaxAttention",
        "softmax_attention.py",
        "Baseline. The quadratic yardstick.",
        excused=("sub-quadratic",),
    ),
    Baseline(
        "LinearAttention",
        "linear_attention.py",
        "Baseline. A sum of outer products, read as a weighted mean. arXiv:2006.16236",
        (
            "input:convolution",
            "features:elu",
            "keys:free",
            "decay:none",
            "update:add",
            "read:normalised",
            "norm:none",
            "gate:none",
        ),
    ),
)

_SMALL = ModelSize(width=32, heads=2, layers=2, parameters=24_000)

LAPTOP = Preset(
    name="laptop",
    summary="five baselines and twenty proposals on two cores in ten minutes",
    budgets=(
        TaskBudget("language", 300 * 1024, 16, 64, 7e-3, _SMALL),
        TaskBudget("recall", 215 * 1536, 64, 24, 7e-3, _SMALL),
        TaskBudget("state tracking", 160 * 1536, 64, 24, 1e-2, _SMALL),
    ),
    # So short a budget is a matter of luck for recall. On these two of some that were tried,
    # softmax attention and both delta rules learn it.
    seeds=(18, 27),
    proposals=20,
    attempts=3,
    selection=Selection(cold_start=6, batch=2, lag=3),
    ruler=Ruler("recall", "DeltaNet", "LinearAttention", 0.3, "SoftmaxAttention", 0.95),
    limit_seconds=300.0,
    baselines=BASELINES,
    seeds_warning=(
        "Seeds 18 and 27 were chosen, of some that were tried: on them softmax attention and both "
        "delta rules learn recall within this budget, which depends on the seed. Other seeds may "
        "give another ranking."
    ),
)

_SMALLER = ModelSize(width=32, heads=2, layers=1, parameters=12_000)

# Every part of a run, too short to tell anything: for tests and for a first try.
SMOKE = replace(
    LAPTOP,
    name="smoke",
    summary="the whole way in a minute; its numbers mean nothing",
    budgets=(
        TaskBudget("language", 2 * 1024, 16, 64, 1e-2, _SMALLER),
        TaskBudget("recall", 2 * 384, 16, 24, 1e-2, _SMALLER),
        TaskBudget("state tracking", 2 * 384, 16, 24, 1e-2, _SMALLER),
    ),
    seeds=(0, 1),
    proposals=4,
    selection=Selection(cold_start=2, batch=1, lag=2),
    ruler=None,
    limit_seconds=120.0,
    numbers_warning=(
        "A smoke run shows the whole way: its trainings are too short for its numbers to mean "
        "anything."
    ),
    seeds_warning="",
)

PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in (LAPTOP, SMOKE)}


def preset(name: str) -> Preset:
    """Returns the preset of that name; raises InputError naming those there are."""
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}: expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


def warnings_for(records: Iterable[Record]) -> tuple[str, ...]:
    """Returns what has to stand wherever numbers of these records do, each sentence once.

    Records without a measurement have no numbers that need a warning.
    """
    names = dict.fromkeys(
        record.provenance.preset
        for record in records
        if isinstance(record.outcome, Measured) and record.outcome.measurements
    )
    found = (PRESETS[name].warnings for name in names if name in PRESETS)
    return tuple(dict.fromkeys(text for texts in found for text in texts))
