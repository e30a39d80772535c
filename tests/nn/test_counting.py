"""What operators cost, by their definition."""

import pytest
import torch
import torch.nn.functional as F

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
