"""Where the marks of the report's charts go. Pure geometry: numbers in, numbers out.

Across, the trend is measured in percent of its width, so that it fits every screen without
scaling its text. Everything else is in CSS pixels, with y growing downwards.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from move37.search.leaderboard import Row


class Axis(NamedTuple):
    """Maps numbers from `low` to `high` onto places from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Returns the place of a number, to a tenth of a pixel or percent."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, most: int, smallest: float = 0.0) -> list[float]:
        """Returns at most `most` + 1 round numbers within the range, evenly spaced."""
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = max(smallest, next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(i * step, 12) for i in range(first, last + 1)]


def axis(values: Sequence[float], start: float, end: float, *, margin: float = 0.04) -> Axis:
    """Returns the axis that shows all values, with a margin at both sides."""
    low, high = min(values), max(values)
    spare = (high - low) * margin or abs(high) * margin or 1.0
    return Axis(low - spare, high + spare, start, end)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Returns places in the same order, `gap` apart, within the range, as near as can be.

    `wanted` ascends. Least squares by pooling neighbours that would meet (isotonic regression
    of what is left after the gaps). Where the range is too short, the gap gives way.
    """
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    pooled: list[tuple[float, int]] = []
    for i, place in enumerate(wanted):
        mean, count = place - i * gap, 1
        while pooled and pooled[-1][0] > mean:
            other, others = pooled.pop()
            mean = (mean * count + other * others) / (count + others)
            count += others
        pooled.append((mean, count))
    flat = [mean for mean, count in pooled for _ in range(count)]
    top = high - gap * (len(wanted) - 1)
    return [round(min(max(mean, low), top) + i * gap, 1) for i, mean in enumerate(flat)]


# ---------------------------------------------------------------- the trend

TREND_TOP, TREND_BOTTOM = 22, 312
LABEL_GAP = 15


class Dot(NamedTuple):
    """A measured mixer; `low` and `high` are the ends of its interval."""

    row: Row
    x: float
    y: float
    low: float
    high: float


class Label(NamedTuple):
    """A baseline's name at the right edge: the line is at `y`, the text at `text_y`."""

    row: Row
    y: float
    text_y: float


class Line(NamedTuple):
    """A straight line."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Trend:
    """Fitness over experiments."""

    dots: tuple[Dot, ...]  # the baselines last, so that they lie on top
    labels: tuple[Label, ...]
    best: tuple[Line, ...]  # the steps of the best candidate so far
    failures: tuple[tuple[int, float], ...]  # experiment, x
    x_ticks: tuple[tuple[float, float], ...]  # number, place
    y_ticks: tuple[tuple[float, float], ...]


def trend(rows: Sequence[Row], experiments: Sequence[int], failed: Sequence[int]) -> Trend:
    """Returns the marks of the trend; `rows` must not be empty."""
    across = axis([min(experiments), max(experiments)], 0, 100, margin=0.025)
    ends = [end for row in rows for end in row.interval]
    up = axis([*ends, *(row.fitness for row in rows)], TREND_BOTTOM, TREND_TOP)
    dots = [
        Dot(row, across.at(row.experiment), up.at(row.fitness), *map(up.at, row.interval))
        for row in sorted(rows, key=lambda row: (row.is_baseline, row.experiment))
    ]
    marked = sorted((dot for dot in dots if dot.row.is_baseline), key=lambda dot: dot.y)
    places = spread([dot.y for dot in marked], LABEL_GAP, TREND_TOP, TREND_BOTTOM)
    return Trend(
        dots=tuple(dots),
        labels=tuple(Label(d.row, d.y, place) for d, place in zip(marked, places, strict=True)),
        best=tuple(_steps([dot for dot in dots if not dot.row.is_baseline])),
        failures=tuple((number, across.at(number)) for number in failed),
        x_ticks=tuple((n, across.at(n)) for n in across.ticks(6, smallest=1)),
        y_ticks=tuple((value, up.at(value)) for value in up.ticks(6)),
    )


def _steps(dots: Sequence[Dot]) -> list[Line]:
    """The line of the best so far: level to the next better one, then up to it."""
    lines: list[Line] = []
    best: Dot | None = None
    for dot in dots:
        if best is not None and dot.y >= best.y:
            continue
        if best is not None:
            lines += [Line(best.x, best.y, dot.x, best.y), Line(dot.x, best.y, dot.x, dot.y)]
        best = dot
    if best is not None:
        lines.append(Line(best.x, best.y, 100.0, best.y))
    return lines


# ---------------------------------------------------------------- the lineage

NODE_WIDTH, NODE_HEIGHT = 240, 28
COLUMN, ROW = NODE_WIDTH + 48, NODE_HEIGHT + 10


class Node(NamedTuple):
    """An experiment; (x, y) is its upper left corner."""

    experiment: int
    x: float
    y: float


class Edge(NamedTuple):
    """From a parent's right side to its child's left side."""

    parent: int
    child: int
    path: str


@dataclass(frozen=True)
class Lineage:
    """Parents to the left of their children, one column per generation."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    width: float
    height: float
    generations: int


def lineage(parents: Mapping[int, Sequence[int]]) -> Lineage:
    """Returns the layout of experiments and their parents; a parent has a smaller number.

    Within a generation, experiments stand as near to their parents as there is room.
    """
    generation: dict[int, int] = {}
    for child in sorted(parents):
        generation[child] = max((generation[p] + 1 for p in parents[child]), default=0)
    columns: list[list[int]] = [[] for _ in range(max(generation.values(), default=-1) + 1)]
    for experiment, number in generation.items():
        columns[number].append(experiment)

    y: dict[int, float] = {}
    tall = float(ROW * max((len(column) for column in columns), default=0))
    for column in columns:
        desired = {
            e: sum(y[p] for p in parents[e]) / len(parents[e]) if parents[e] else 0.0
            for e in column
        }
        column.sort(key=lambda e: (desired[e], e))
        places = spread([desired[e] for e in column], ROW, 0, max(tall - ROW, ROW))
        y.update(zip(column, places, strict=True))

    nodes = [Node(e, generation[e] * COLUMN, y[e]) for e in sorted(generation)]
    edges = [
        Edge(p, node.experiment, _bend(generation[p] * COLUMN + NODE_WIDTH, y[p], node.x, node.y))
        for node in nodes
        for p in parents[node.experiment]
    ]
    width = len(columns) * COLUMN - (COLUMN - NODE_WIDTH)
    lowest = max(y.values(), default=0.0) + NODE_HEIGHT
    return Lineage(tuple(nodes), tuple(edges), width, lowest, len(columns))


def _bend(x1: float, y1: float, x2: float, y2: float) -> str:
    half, y1, y2 = (x1 + x2) / 2, y1 + NODE_HEIGHT / 2, y2 + NODE_HEIGHT / 2
    return f"M{x1:g} {y1:g}C{half:g} {y1:g} {half:g} {y2:g} {x2:g} {y2:g}"


# ---------------------------------------------------------------- learning curves

PLOT_WIDTH, PLOT_HEIGHT = 320, 190
PLOT_LEFT, PLOT_RIGHT, PLOT_TOP, PLOT_BOTTOM = 48, 308, 10, 160

Curve = Sequence[tuple[float, float]]  # training tokens, value


@dataclass(frozen=True)
class Plot:
    """Learning curves of one task."""

    own: tuple[str, ...]  # points of a polyline, one per seed
    reference: tuple[str, ...]
    ends: tuple[tuple[float, float], ...]  # the last point of each own curve
    x_ticks: tuple[tuple[float, float], ...]
    y_ticks: tuple[tuple[float, float], ...]


def plot(own: Sequence[Curve], reference: Sequence[Curve]) -> Plot:
    """Returns the plot of a mixer's curves over the reference's; `own` has at least one point."""
    points = [point for curve in (*own, *reference) for point in curve]
    across = Axis(0, max(max(tokens for tokens, _ in points), 1), PLOT_LEFT, PLOT_RIGHT)
    up = axis([value for _, value in points], PLOT_BOTTOM, PLOT_TOP)

    def line(curve: Curve) -> str:
        return " ".join(f"{across.at(tokens):g},{up.at(value):g}" for tokens, value in curve)

    return Plot(
        own=tuple(line(curve) for curve in own),
        reference=tuple(line(curve) for curve in reference),
        ends=tuple((across.at(curve[-1][0]), up.at(curve[-1][1])) for curve in own if curve),
        x_ticks=tuple((n, across.at(n)) for n in across.ticks(3)),
        y_ticks=tuple((n, up.at(n)) for n in up.ticks(4)),
    )
