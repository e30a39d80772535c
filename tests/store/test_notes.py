"""Judgements and fallbacks lie beside the records; a store without them is as readable."""

from pathlib import Path

import pytest

from move37.records import Fallback, InputError, Judgement
from move37.store.store import Store
from tests.search.builders import record

JUDGEMENT = Judgement(5, "abc", "openai:x", 3, 5.0, 6.5, 9.0, 2.0)
FALLBACK = Fallback("analyst", "openai:x", 5, "Expected an object.")


def test_judgements_are_read_back_in_order(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", create=True) as store:
        other = Judgement(6, "def", "openai:x", 1, 0.0, 0.0, 10.0, 0.0)
        store.append_judgement(JUDGEMENT)
        store.append_judgement(other)
        assert store.judgements() == [JUDGEMENT, other]


def test_fallbacks_are_read_back(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", create=True) as store:
        store.append_fallback(FALLBACK)
        assert store.fallbacks() == [FALLBACK]


def test_a_store_that_no_model_was_asked_for_has_neither(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", create=True) as store:
        store.append([record("Echo")])
    with Store.open(tmp_path / "store", write=False) as store:
        assert (store.judgements(), store.fallbacks(), store.calls()) == ([], [], [])


def test_a_judgement_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", create=True) as store:
        store.append_judgement(JUDGEMENT)
        with store._writing("a test") as link:
            link.exec_driver_sql("UPDATE judgements SET body = '{}'")
        with pytest.raises(InputError, match=r"damaged: judgement 1 .*, about experiment 5,"):
            store.judgements()
