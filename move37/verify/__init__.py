"""Facts about a mixer, each with its evidence, from cheap to dear."""

from collections.abc import Callable, Mapping

from move37.records import CheckResult
from move37.verify.causality import check_causality, check_independence, check_prefix
from move37.verify.complexity import check_subquadratic
from move37.verify.interface import (
    check_finite,
    check_gradients,
    check_interface,
    check_repeatable,
)
from move37.verify.protocol import check_decoding, check_documents
from move37.verify.subject import Subject

__all__ = ["CHECKS", "Check", "Subject"]

Check = Callable[[Subject], CheckResult]

CHECKS: Mapping[str, Check] = {
    "interface": check_interface,
    "finite": check_finite,
    # Before causality, which compares calls and batch rows.
    "repeatable": check_repeatable,
    "independence": check_independence,
    "causality": check_causality,
    "prefix": check_prefix,
    "gradients": check_gradients,
    "sub-quadratic": check_subquadratic,
    "documents": check_documents,
    "decoding": check_decoding,
}
