"""Facts about a mixer, each with its evidence, from cheap to dear."""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

from move37.records import CheckResult
from move37.verify.building import check_builds
from move37.verify.causality import check_causality, check_independence, check_prefix
from move37.verify.complexity import check_memory, check_subquadratic
from move37.verify.function import (
    check_repeatable,
    check_restorable,
    from_one_state,
    is_changed_by_calls,
    restore,
    settings,
)
from move37.verify.interface import (
    Broken,
    check_finite,
    check_interface,
    check_precision,
    refused_at_once,
)
from move37.verify.protocol import (
    check_chunking,
    check_decoding,
    check_documents,
    check_padding,
)
from move37.verify.subject import Subject
from move37.verify.training import check_gradients

__all__ = ["CHECKS", "Broken", "Check", "Subject", "after", "broken", "comparisons"]

Check = Callable[[Subject], CheckResult]


def _undisturbed(check: Check) -> Check:
    """The same check; what a mixer changes for everyone is set back afterwards."""

    @functools.wraps(check)
    def undisturbed(subject: Subject) -> CheckResult:
        with as_before():
            return check(subject)

    return undisturbed


@contextlib.contextmanager
def as_before() -> Iterator[None]:
    """What a mixer changes for everyone is set back at the end."""
    before = settings()
    try:
        yield
    finally:
        restore(before)


# They compare calls: of a mixer that is changed by being called they would find anything.
COMPARING = (
    *("restorable", "independence", "causality", "prefix", "documents", "padding", "decoding"),
    "chunking",
)
# A check on the left fails, by its definition, where the one on the right has failed.
FOLLOWS = {
    "precision": "interface",  # another dtype than that of the input
    "prefix": "causality",  # an output that hears its future changes when that is cut off
    "memory": "sub-quadratic",  # pairs of tokens that are held in memory
}


def comparisons(subject: Subject) -> Callable[[str], CheckResult]:
    """Returns how a COMPARING check, by its name, is made of a mixer that failed `repeatable`.

    Where calls change the mixer, each starts from the same state, or else the check is not run.
    """
    with as_before():
        changed = is_changed_by_calls(subject)
        same = from_one_state(subject) if changed else subject

    def compare(name: str) -> CheckResult:
        if same is None or (changed and name == "restorable"):
            return CheckResult(name, "not run", "see repeatable: it is changed by being called")
        result = CHECKS[name](same)
        if not changed or result.verdict not in ("passed", "failed"):
            return result
        return replace(result, evidence=f"{result.evidence}; each call from the same state")

    return compare


def after(failed: Collection[str], result: CheckResult) -> CheckResult:
    """Returns a failure that says so where it follows from one of the checks that failed before.

    That is known by `FOLLOWS`, or by its evidence: "(see independence)".
    """
    if result.verdict == "failed":
        for cause in failed:
            if FOLLOWS.get(result.check) == cause or f"(see {cause})" in result.evidence:
                return replace(result, evidence=f"follows from {cause}: {result.evidence}")
    return result


def broken(subject: Subject) -> Broken | None:
    """Says why its forward gives no output at all, so that each check would say the same."""
    with as_before():
        return refused_at_once(subject)


CHECKS: Mapping[str, Check] = {
    "interface": _undisturbed(check_interface),
    "builds": _undisturbed(check_builds),
    # Before all that compares calls.
    "repeatable": _undisturbed(check_repeatable),
    "finite": _undisturbed(check_finite),
    "precision": _undisturbed(check_precision),
    "restorable": _undisturbed(check_restorable),
    "independence": _undisturbed(check_independence),
    "causality": _undisturbed(check_causality),
    "prefix": _undisturbed(check_prefix),
    "gradients": _undisturbed(check_gradients),
    "sub-quadratic": _undisturbed(check_subquadratic),
    "memory": _undisturbed(check_memory),
    "documents": _undisturbed(check_documents),
    "padding": _undisturbed(check_padding),
    "decoding": _undisturbed(check_decoding),
    "chunking": _undisturbed(check_chunking),
}
