"""No two marks of the report's charts lie on each other, and each is where its number says."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from move37.search.leaderboard import leaderboard
from move37.web import charts
from tests.web import builders

places = st.lists(st.floats(0, 300), min_size=1, max_size=20).map(sorted)
families = st.lists(st.lists(st.integers(0, 40), max_size=3), min_size=1, max_size=40).map(
    lambda drawn: {
        child: sorted({p for p in parents if p < child}) for child, parents in enumerate(drawn)
    }
)


@given(places)
def test_spread_places_keep_their_order_and_their_distance(wanted: list[float]) -> None:
    placed = charts.spread(wanted, 15, 0, 300)
    assert all(b - a >= 14.89 for a, b in pairwise(placed))  # places have one decimal
    assert placed[0] >= 0
    assert placed[-1] <= 300


def test_places_that_are_far_apart_stay_where_they_are() -> None:
    assert charts.spread([10, 50, 200], 15, 0, 300) == [10, 50, 200]


def test_places_that_meet_move_apart_by_the_same_way() -> None:
    assert charts.spread([100, 100], 20, 0, 300) == [90, 110]


def test_more_places_than_room_share_the_room() -> None:
    assert charts.spread([0.0] * 5, 100, 0, 200) == [0, 50, 100, 150, 200]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(-3.9, 2.7, [-2, 0, 2]), (0.17, 0.71, [0.2, 0.4, 0.6]), (-0.6, 24.6, [0, 10, 20])],
)
def test_ticks_are_round_and_within(low: float, high: float, ticks: list[float]) -> None:
    assert charts.Axis(low, high, 0, 100).ticks(4) == ticks


def test_an_axis_of_equal_values_still_has_a_width() -> None:
    assert charts.axis([0.0, 0.0], 0, 100).at(0.0) == 50
    assert charts.axis([2.9], 0, 100).at(2.9) == 50


@given(families)
def test_parents_stand_to_the_left_and_nodes_apart(parents: dict[int, list[int]]) -> None:
    drawn = charts.lineage(parents)
    node = {n.experiment: n for n in drawn.nodes}
    assert node.keys() == parents.keys()
    for child, elders in parents.items():
        assert all(node[p].x + charts.NODE_WIDTH < node[child].x for p in elders)
    for x in {n.x for n in drawn.nodes}:
        column = sorted(n.y for n in drawn.nodes if n.x == x)
        assert all(b - a > charts.NODE_HEIGHT for a, b in pairwise(column))
    assert all(n.x + charts.NODE_WIDTH <= drawn.width for n in drawn.nodes)
    assert all(0 <= n.y <= drawn.height - charts.NODE_HEIGHT for n in drawn.nodes)


def test_an_empty_lineage_has_no_nodes() -> None:
    assert charts.lineage({}).nodes == ()


def test_the_best_so_far_only_rises() -> None:
    records, _ = builders.run(30)
    rows = leaderboard(records)
    drawn = charts.trend(rows, [record.experiment for record in records], [])
    heights = [line.y1 for line in drawn.best]
    assert heights == sorted(heights, reverse=True)
    candidates = [dot.y for dot in drawn.dots if dot.row.origin != "baseline"]
    assert drawn.best[-1].y2 == min(candidates)


def test_labels_of_baselines_never_touch() -> None:
    rows = leaderboard(builders.baselines())
    drawn = charts.trend(rows, [row.experiment for row in rows], [])
    assert all(b.text_y - a.text_y >= charts.LABEL_GAP - 0.11 for a, b in pairwise(drawn.labels))


def test_a_curve_ends_at_its_last_number() -> None:
    drawn = charts.plot([[(10, 4.0), (20, 3.0)]], [[(10, 3.0)]])
    (x, y), last = drawn.ends[0], drawn.own[0].split()[-1]
    assert last == f"{x:g},{y:g}"
    assert x == charts.PLOT_RIGHT
    assert drawn.reference[0].endswith(f",{y:g}")
