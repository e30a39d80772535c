"""What operators cost, by their definition."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from move37.nn.counting import Work, bytes_of, is_known


def test_a_product_of_complex_numbers_counts_as_four() -> None:
    a, b = torch.randn(3, 4), torch.randn(4, 5)
    with Work() as real:
        a @ b
    with Work() as both:
        a.to(torch.complex64) @ b.to(torch.complex64)
    assert real.flops.total() == 2 * 3 * 4 * 5
    assert both.flops.total() == 4 * real.flops.total()


def test_each_output_of_a_pool_visits_its_window() -> None:
    x = torch.randn(1, 2, 20, requires_grad=True)
    with Work() as work:
        F.avg_pool1d(x, 5, stride=1).sum().backward()
    assert work.elements["avg_pool2d"] == 2 * 16 * 5
    assert work.elements["avg_pool2d_backward"] == 2 * 16 * 5


def test_what_an_unknown_operator_costs_is_not_guessed() -> None:
    with Work() as work:
        torch.linalg.svdvals(torch.eye(3))
    assert work.unknown == {"_linalg_svd"}
    assert not is_known(torch.ops.aten._linalg_svd.default)
    assert is_known(torch.ops.aten.bmm.default)


@pytest.mark.parametrize(
    ("state", "size"),
    [
        (torch.zeros(2, 3), 24),
        ([torch.zeros(2, dtype=torch.bool), {"count": 7}], 10),
        ((1.5, 2, True, None), 24),
        # Two numbers that a program has hidden in the sizes of a tensor without elements.
        (torch.zeros(0, 1234, 99), 24),
        (torch.zeros(()), 4),
    ],
)
def test_the_bytes_of_a_state_count_numbers_and_what_sizes_hide(state: object, size: int) -> None:
    assert bytes_of(state) == size


A_1NN, B_RNM = torch.randn(1, 5, 5) + 5 * torch.eye(5), torch.randn(70, 5, 3)
X_T1, X_1T = torch.randn(40, 1), torch.randn(1, 40)
SQUARE = 40 * 40  # pairs


@pytest.mark.parametrize(
    ("solve", "flops"),
    [
        # One matrix, 70 right sides; and 70 matrices, one right side.
        (lambda a, b: torch.linalg.solve_triangular(a, b, upper=True), 70 * 5 * 3 * 5),
        (lambda a, b: torch.linalg.solve_triangular(b[..., :1] + a, b[:1], upper=True), 5250),
        (lambda a, b: torch.linalg.solve(a, b), 2 * (25 + 70 * 15) * 5),
        (lambda a, b: torch.linalg.lu_solve(*torch.linalg.lu_factor(a), b), 125 + 2 * 1050 * 5),
        (lambda a, b: torch.cdist(a[..., :3], b, p=1.0), 2 * 70 * 5 * 5 * 3),
    ],
)
def test_a_product_counts_what_broadcasting_makes_of_it(
    solve: Callable[[Tensor, Tensor], Tensor], flops: int
) -> None:
    with Work() as work:
        solve(A_1NN, B_RNM)
    assert work.unknown == set()
    assert work.flops.total() == flops


@pytest.mark.parametrize(
    "pairs",
    [
        lambda: torch.dist(X_T1, X_1T),
        lambda: torch.ops.aten.mse_loss(X_T1, X_1T),
        lambda: torch.ops.aten.smooth_l1_loss(X_T1, X_1T),
        lambda: torch.ops.aten.huber_loss(X_T1, X_1T),
        lambda: torch.masked_select(X_T1, torch.zeros(1, 40, dtype=torch.bool)),
        lambda: torch.zeros(2, 2).index_put(
            (torch.zeros(40, 1, dtype=torch.long), torch.zeros(1, 40, dtype=torch.long)),
            torch.ones(()),
            accumulate=True,
        ),
        lambda: torch.zeros(2, 40).index_fill(0, torch.zeros(40, dtype=torch.long), 1.0),
    ],
)
def test_pairs_within_an_operator_count_though_its_result_is_small(
    pairs: Callable[[], Tensor],
) -> None:
    with Work() as work:
        pairs()
    assert SQUARE <= work.elements.total() <= SQUARE + 200


def test_an_index_counts_the_elements_that_it_writes() -> None:
    x, places = torch.zeros(50, 7), torch.arange(3)
    with Work() as work:
        x[places] = 1.0
        x[torch.ones(50, dtype=torch.bool)] = 1.0
    assert work.elements["index_put_"] == 2 * 50 * 7


POLYNOMIALS = sorted(
    name for name in dir(torch.special) if "polynomial" in name and not name.startswith("_")
)


@pytest.mark.parametrize("name", POLYNOMIALS)
@pytest.mark.parametrize("degree", [100, torch.tensor(100.0), torch.full((4,), 100.0)])
def test_a_polynomial_counts_its_degree(name: str, degree: float | Tensor) -> None:
    with Work() as work:
        getattr(torch.special, name)(torch.linspace(-1, 1, 4), degree)
    assert work.elements[f"special_{name}"] == 4 * 100


def test_there_are_polynomials_to_count() -> None:
    assert len(POLYNOMIALS) == 12


def test_a_sum_of_gamma_functions_counts_its_terms() -> None:
    with Work() as work:
        torch.mvlgamma(torch.full((4,), 60.0), 50)
    assert work.elements.total() >= 4 * 50


def test_the_exponential_of_a_matrix_counts_its_squarings() -> None:
    counts = []
    for size in (1.0, 2.0**20):
        with Work() as work:
            torch.linalg.matrix_exp(size * torch.eye(6))
        counts.append(work.flops.total())
    assert counts == [5 * 2 * 6**3, 25 * 2 * 6**3]


def test_a_window_of_one_number_is_a_square() -> None:
    with Work() as work:
        torch.ops.aten.avg_pool2d(torch.ones(1, 1, 20, 20), [5])
    assert work.elements["avg_pool2d"] == 16 * 25


def test_a_bilinear_map_is_counted() -> None:
    with Work() as work:
        F.bilinear(torch.ones(9, 5), torch.ones(9, 6), torch.ones(4, 5, 6))
    assert work.unknown == set()
    assert work.flops.total() == 4 * 9 * 5 * 6 * 4


@pytest.mark.parametrize(
    "search",
    [
        lambda: torch.bucketize(torch.ones(8), torch.arange(1024.0)),
        lambda: torch.multinomial(torch.ones(1024), 8, replacement=True),
    ],
)
def test_a_search_counts_its_halvings(search: Callable[[], Tensor]) -> None:
    with Work() as work:
        search()
    counted = {name: n for name, n in work.elements.items() if name in ("bucketize", "multinomial")}
    assert list(counted.values()) == [1024 * 10]


def test_what_is_counted_may_be_named_apart() -> None:
    class Apart(Work):
        def name_of(self, operator: str, inputs: object) -> str:  # noqa: ARG002
            return f"{operator} apart"

    with Apart() as work:
        torch.ones(3).exp()
    assert work.elements == {"ones apart": 3, "exp apart": 3}
