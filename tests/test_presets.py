"""What a preset says of its numbers, and what it decides."""

from dataclasses import replace

import pytest

from move37.presets import CHECKS, LAPTOP, PRESETS, SMOKE, are_all_checks, warnings_for
from move37.records import Record
from tests.search.builders import baselines, rejected

SMOKE_WARNING, SEEDS_WARNING = SMOKE.numbers_warning, LAPTOP.seeds_warning


def of(preset: str, records: list[Record]) -> list[Record]:
    return [replace(one, provenance=replace(one.provenance, preset=preset)) for one in records]


def test_the_numbers_of_each_preset_have_the_warnings_that_belong_to_them() -> None:
    assert warnings_for(of("smoke", baselines())) == (SMOKE_WARNING,)
    assert warnings_for(of("laptop", baselines())) == (SEEDS_WARNING,)
    both = of("smoke", baselines()) + of("laptop", baselines())
    assert warnings_for(both) == (SMOKE_WARNING, SEEDS_WARNING)


def test_a_warning_about_seeds_names_the_seeds_of_its_preset() -> None:
    for preset in PRESETS.values():
        if preset.seeds_warning:
            assert all(str(seed) in preset.seeds_warning for seed in preset.seeds)


@pytest.mark.parametrize("records", [[], of("smoke", [rejected("Echo")])])
def test_what_has_no_numbers_needs_no_warning(records: list[Record]) -> None:
    assert warnings_for(records) == ()


def test_words_about_a_preset_change_no_store() -> None:
    other = replace(SMOKE, numbers_warning="", seeds_warning="Chosen.", summary="Another.")
    assert other.fingerprint == SMOKE.fingerprint
    assert replace(SMOKE, seeds=(2, 3)).fingerprint != SMOKE.fingerprint


def test_all_checks_may_lack_the_one_about_a_budget() -> None:
    assert are_all_checks(set(CHECKS) - {"fits"})
    assert not are_all_checks(set(CHECKS) - {"causality"})
