"""The offline analyst: what an experiment taught, in two or three sentences.

Everything it says is computed: differences paired by seed, against the noise of all mixers that
were measured on the same seeds.
"""

import contextlib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from move37.history import History
from move37.records import REFERENCE, Crashed, Lesson, Measured, Measurement, Record, Rejected
from move37.results import Result, results
from move37.statistics import Interval, Noise, RunNoise, interval

# task -> how a weakness in it is told, in the words that the knowledge's triggers use
WEAKNESS: Mapping[str, str] = {
    "recall": "recall of many key-value pairs is weak",
    "state tracking": "state tracking and parity fail",
    "language": "the language loss lags, local patterns are missed",
}
NO_WEAKNESS = "the state is large and the cost per token is high"


@dataclass(frozen=True)
class Difference:
    """How much better one mixer is than another on one task."""

    task: str
    own: float
    other: float
    unit: str
    reach: Interval  # 95 %, of the gain; positive is better

    @property
    def clear(self) -> bool:
        """Says whether the interval leaves no doubt about the direction."""
        return self.reach.excludes(0.0)

    @property
    def gain(self) -> float:
        """The middle of the interval."""
        return (self.reach.low + self.reach.high) / 2

    def told(self) -> str:
        half = (self.reach.high - self.reach.low) / 2
        return f"{self.task} ({self.own:.3f} against {self.other:.3f} {self.unit}, +-{half:.3f})"


def analyse(experiment: Sequence[Record], history: Sequence[Record]) -> Lesson:
    """Returns the lesson of one experiment; `history` holds all records before it."""
    last = experiment[-1]
    measured = [record for record in experiment if isinstance(record.outcome, Measured)]
    if not measured or isinstance(last.outcome, Rejected | Crashed):
        return _of_failure(experiment)
    identity, known = last.candidate.id, History.of(history)
    new = [one for one in results(experiment) if known.result(one.candidate.id) is None]
    found = [*(known.result(one) for one in last.parents), *new]
    found += [known.result(record.candidate.id) for record in known.baselines]
    results_by_id = {one.candidate.id: one for one in found if one is not None}
    if identity not in results_by_id and (before := known.result(identity)) is not None:
        results_by_id[identity] = before
    runs = {one: result.measurements for one, result in results_by_id.items()}
    names = {one: result.candidate.proposal.name for one, result in results_by_id.items()}
    noise = _noise(known, new)
    parent = next((one for one in last.parents if one in runs and one != identity), None)
    # A dict, since ties are broken by order, and the order of a set is not the same in every run.
    baselines = dict.fromkeys(
        record.candidate.id
        for record in [*known.baselines, *experiment]
        if record.candidate.proposal.is_baseline and record.candidate.id in runs
    )
    reference = next((one for one in baselines if names.get(one) == REFERENCE), None)

    sentences = []
    improved: tuple[str, ...] = ()
    worsened: tuple[str, ...] = ()
    compared = parent or (reference if reference != identity else None)
    if compared is not None:
        differences = _differences(runs[identity], runs[compared], noise)
        improved = tuple(d.task for d in differences if d.clear and d.gain > 0)
        worsened = tuple(d.task for d in differences if d.clear and d.gain < 0)
        who = f"its parent {names[compared]}" if parent else names[compared]
        sentences.append(_against(who, differences))
        if parent and reference and reference != parent:
            sentences.append(_in_short(_differences(runs[identity], runs[reference], noise)))
    rivals = [one for one in baselines if one != identity]
    weakest, best = _weakest(runs, identity, rivals, noise) or (None, "")
    weakness = WEAKNESS.get(weakest.task, f"{weakest.task} is weak") if weakest else NO_WEAKNESS
    if weakest and weakest.clear:
        sentences.append(f"Farthest behind the best baseline, {names[best]}, on {weakest.told()}.")
    elif compared is not None:
        sentences.append("On no task clearly behind the best baseline.")
    seeds = len({m.seed for m in runs[identity]})
    if seeds == 1:
        sentences.append("One seed only: the numbers may still move.")
    text = " ".join(sentences) or "Measured; nothing to compare it with yet."
    return Lesson(last.experiment, identity, text, weakness, improved, worsened)


def _of_failure(experiment: Sequence[Record]) -> Lesson:
    last = experiment[-1]
    tries = len([r for r in experiment if not isinstance(r.outcome, Measured)])
    if isinstance(last.outcome, Rejected):
        reason = f"refused by the check {last.outcome.check!r}: {last.outcome.evidence}"
    else:
        assert isinstance(last.outcome, Crashed)
        reason = f"crashed at {last.outcome.stage!r}: {last.outcome.error.splitlines()[0]}"
    after = f" after {tries} attempts" if tries > 1 else ""
    text = f"{last.candidate.proposal.name} was not measured{after}; {reason.rstrip('.')}."
    unstable = isinstance(last.outcome, Rejected) and last.outcome.check in ("finite", "trainable")
    weakness = "training is unstable, values explode" if unstable else "the program is at fault"
    return Lesson(last.experiment, last.candidate.id, text, weakness)


def _values(
    measurements: Iterable[Measurement], at: Iterable[Measurement] = ()
) -> dict[tuple[str, int], float]:
    """Returns the values by task and seed, turned so that more is better.

    With `at`, where those used fewer tokens (a training that was stopped), the value there.
    """
    shorter = {(m.task, m.seed): m.tokens for m in at}
    values = {}
    for m in measurements:
        tokens = min(m.tokens, shorter.get((m.task, m.seed), m.tokens))
        value = m.value
        if tokens < m.tokens:
            value = next(point.value for point in m.curve if point.tokens == tokens)
        values[m.task, m.seed] = -value if m.metric == "bits per byte" else value
    return values


class _Noises:
    """The noise of one run on each task, as of each experiment that measured something."""

    def __init__(self) -> None:
        self.places: list[int] = []
        self.states: list[Mapping[str, RunNoise]] = []

    def take(self, experiment: Sequence[Record], found: Sequence[Result]) -> None:  # noqa: ARG002
        """Takes in the next experiment."""
        for result in found:
            before = self.states[-1] if self.states else {}
            self.states.append(_plus(before, result))
            self.places.append(result.experiment)


def _plus(before: Mapping[str, RunNoise], result: Result) -> Mapping[str, RunNoise]:
    own: dict[str, dict[int, float]] = defaultdict(dict)
    whole = [m for m in result.measurements if not m.stopped]
    for (task, seed), value in _values(whole).items():
        own[task][seed] = value
    more = {task: before.get(task, RunNoise()).plus(values) for task, values in own.items()}
    return {**before, **more}


def _noise(known: History, new: Iterable[Result]) -> dict[str, Noise]:
    """Returns the noise of one run on each task, where it can be told."""
    gathered = known.gathered(_Noises)
    count = bisect_left(gathered.places, known.border)
    state = gathered.states[count - 1] if count else {}
    for result in new:
        state = _plus(state, result)
    noise = {}
    for task, runs in state.items():
        with contextlib.suppress(ValueError):  # too few seeds yet
            noise[task] = runs.noise()
    return noise


def _differences(
    own: Sequence[Measurement], other: Sequence[Measurement], noise: Mapping[str, Noise]
) -> list[Difference]:
    mine, theirs = _values(own, at=other), _values(other, at=own)
    units = {m.task: "bits per byte" if m.metric == "bits per byte" else "accuracy" for m in own}
    differences = []
    for task in dict.fromkeys(m.task for m in own):
        seeds = [s for (t, s) in mine if t == task and (task, s) in theirs]
        if not seeds or task not in noise:
            continue
        a = sum(mine[task, s] for s in seeds) / len(seeds)
        b = sum(theirs[task, s] for s in seeds) / len(seeds)
        # The difference of two means over as many seeds, each with this noise.
        error = noise[task].deviation * (2 / len(seeds)) ** 0.5
        reach = interval(a - b, error, noise[task].freedom)
        differences.append(Difference(task, abs(a), abs(b), units[task], reach))
    return differences


def _against(who: str, differences: Sequence[Difference]) -> str:
    better = [d.told() for d in differences if d.clear and d.gain > 0]
    worse = [d.told() for d in differences if d.clear and d.gain < 0]
    parts = []
    if better:
        parts.append(f"better than {who} on {_listed(better)}")
    if worse:
        parts.append(f"worse than {who} on {_listed(worse)}")
    if not parts:
        return f"Not to be told apart from {who} on any task within the seed noise."
    text = "; ".join(parts)
    same = [d.task for d in differences if not d.clear]
    if same:
        text += f"; no clear difference on {_listed(same)}"
    return text[0].upper() + text[1:] + "."


def _in_short(differences: Sequence[Difference]) -> str:
    words = {1: "better", 0: "not told apart", -1: "worse"}
    told = [f"{d.task} {words[(d.gain > 0) - (d.gain < 0) if d.clear else 0]}" for d in differences]
    return f"Against {REFERENCE}: {', '.join(told)}."


def _weakest(
    runs: Mapping[str, Sequence[Measurement]],
    identity: str,
    baselines: Iterable[str],
    noise: Mapping[str, Noise],
) -> tuple[Difference, str] | None:
    """Returns the difference that is worst against the best baseline of its task, in noise, with
    that baseline.

    It need not be clear: even a doubtful weakness is a better lead than none.
    """
    worst: tuple[float, Difference, str] | None = None
    for task in noise:
        best = _best_on(task, runs, baselines)
        if best is None:
            continue
        for difference in _differences(_on(task, runs[identity]), _on(task, runs[best]), noise):
            if difference.gain < 0:
                depth = difference.gain / max(noise[task].deviation, 1e-9)
                if worst is None or depth < worst[0]:
                    worst = (depth, difference, best)
    return worst[1:] if worst else None


def _best_on(
    task: str, runs: Mapping[str, Sequence[Measurement]], rivals: Iterable[str]
) -> str | None:
    """Returns the rival with the best mean on a task; None if none was measured on it."""
    values = {one: _values(_on(task, runs[one])).values() for one in rivals}
    means = {one: sum(each) / len(each) for one, each in values.items() if each}
    return max(means, key=lambda one: means[one], default=None)


def _on(task: str, measurements: Sequence[Measurement]) -> list[Measurement]:
    return [one for one in measurements if one.task == task]


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
