"""What the office costs beside the examinations: a run whose model answers at once.

The model is a server on loopback in a process of its own, which answers each request with another
program of 8 kB. An examination is a start of the full lab that loads the program; its numbers are
made up, since nothing is trained.

wall_ms_per_experiment        of a run of proposals with two workers
office_cpu_ms_per_experiment  processor time of the office, with a model in place of its client
client_cpu_ms_per_experiment  what the client adds to it
growth_100000_over_1000       cost of an experiment with so many records in the store, the nearest
                              ideas among it, over that with a thousand; median wall clock
office_peak_mb                the most memory that the office of the run held
office_peak_mb_100000         the same with so many records

Rival: the same questions answered from all records (`from_all_records_over_gathered`, for the rank
of a thousand). Input that must fail: a model that says the same program twice is refused, at no
examination.

    python bench/loop.py [--experiments 200] [--records 100000]
"""

import argparse
import hashlib
import itertools
import json
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

from move37.history import History
from move37.lab.client import Lab
from move37.loop import Plan, discover, hardware
from move37.presets import SMOKE
from move37.records import (
    Assignment,
    Call,
    Candidate,
    CurvePoint,
    Lesson,
    Measured,
    Measurement,
    Outcome,
    Proposal,
    Provenance,
    Record,
    Rejected,
)
from move37.research.client import Client
from move37.research.ledger import Ledger
from move37.research.models import Access, ModelSpec, Reply, parse_model
from move37.research.syntax import RULE
from move37.research.team import Team
from move37.results import results
from move37.search.fitness import Scale
from move37.search.pool import ranked
from move37.store.store import Store

PRESET = replace(SMOKE, attempts=1, selection=replace(SMOKE.selection, cold_start=1, lag=4))
BASELINES = len(PRESET.baselines)
AT_SIZE = 40  # experiments that are timed beside so many records
PROVENANCE = Provenance("smoke", (0,), "0", "cpu", "none", "2026-01-01T00:00:00", 1.0)
WORDS = "keys values decay gate state memory recall chunk delta rule feature map width".split()


def program(number: int) -> str:
    """Returns a mixer of 8 kB, written as models write; each number another one."""
    stages = "".join(
        f'''
    def _stage_{stage}(self, x_BTD: Tensor, gate_BTD: Tensor) -> Tensor:
        """Mixes the features of one stage; the motivation says why the gate comes first.

        Shapes: x_BTD and gate_BTD are (batch, time, features), and so is what is returned.
        """
        # The gate is kept in float32: products of many decays underflow in half precision.
        gate_BTD = torch.sigmoid(gate_BTD.float() + {number}).to(x_BTD.dtype)
        mixed_BTD = gate_BTD * x_BTD + (1 - gate_BTD) * self.project(x_BTD)
        # What is left over is added at the end, so that gradients have a straight way.
        return mixed_BTD + x_BTD
'''
        for stage in range(12)
    )
    return f'''"""A mixer in stages: {motivation(number)}"""

import torch
from torch import Tensor, nn


class Mixer{number}(nn.Module):
    """Mixes in stages, each with a gate of its own."""

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        self.gate = nn.Linear(dim, dim)
{stages}
    def forward(self, x_BTD: Tensor) -> Tensor:
        """Returns the features after all stages."""
        gate_BTD = self.gate(x_BTD)
        for stage in range(12):
            x_BTD = getattr(self, f"_stage_{{stage}}")(x_BTD, gate_BTD)
        return self.project(x_BTD)
'''


def motivation(number: int) -> str:
    """Returns two sentences of words, each number others."""
    dice = random.Random(number)
    return f"The {' '.join(dice.choices(WORDS, k=12))} may help, as number {number} shows."


# ---------------------------------------------------------------- the model


def proposed(number: int) -> str:
    """Returns what a researcher answers."""
    head = f"Name: Mixer{number}\nMotivation: {motivation(number)}\n\n"
    return f"{head}```python\n{program(number)}```\n"


class Instant:
    """A model in this process, which answers without a client between."""

    def __init__(self, first: int) -> None:
        self._count, self._lock = first, threading.Lock()

    def ask(self, *_: object, **__: object) -> Reply:
        with self._lock:
            self._count += 1
        return Reply(proposed(self._count), True, 9, 9, 0.0, 0.0, "instant")


def serve(ready: Connection, first: int, *, same: bool) -> None:
    """Answers chat completions at once, until the process is ended."""
    count, lock = [first], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["content-length"]))
            with lock:
                count[0] += 0 if same else 1
                number = count[0]
            text = proposed(number)
            if b'\\"same\\"' in asked:
                text = '{"same": false, "as": "", "why": "another idea"}'
            message = {"role": "assistant", "content": text}
            data = {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": "scripted",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
            }
            body = json.dumps(data).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ready.send(server.server_port)
    server.serve_forever()


@contextmanager
def model(first: int, *, roles: str, same: bool = False) -> Iterator[ModelSpec]:
    """Gives a model that answers at once."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, first), kwargs={"same": same})
    process.start()
    try:
        address = f"http://127.0.0.1:{ours.recv()}/v1#scripted,input=1,output=2,roles={roles}"
        yield parse_model(address)
    finally:
        process.kill()
        process.join()


# ---------------------------------------------------------------- the lab and the records


def measurements(source: str, seeds: Sequence[int], *, good: bool) -> tuple[Measurement, ...]:
    """Returns made-up numbers, the same for the same program; most proposals are clearly behind."""

    def share(text: str) -> float:
        return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8

    found = []
    for seed in seeds:
        for budget in PRESET.budgets:
            language = budget.task == "language"
            worth = share(source + budget.task) + 0.02 * share(f"{source}{budget.task}{seed}")
            worth = worth / 10 + (2 if good else 0)
            value = 5 - worth if language else 0.2 + 0.2 * worth
            found.append(
                Measurement(
                    task=budget.task,
                    seed=seed,
                    metric="bits per byte" if language else "accuracy",
                    value=value,
                    tokens=budget.tokens,
                    stopped=False,
                    seconds=1.0,
                    peak_bytes=1,
                    state_bytes=1000,
                    flops_per_token=1e5,
                    parameters=24_000,
                    curve=(CurvePoint(budget.tokens, 5 - worth, value),),
                )
            )
    return tuple(found)


class TrivialLab:
    """Starts an examination in the full lab, which loads the program, and trains nothing."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.examined = 0

    def examine(
        self, assignment: Assignment, progress: Callable[[str], None] = lambda stage: None
    ) -> Outcome:
        self.examined += 1
        outcome = self._lab.examine(replace(assignment, checks=(), seeds=()), progress)
        if not isinstance(outcome, Measured):
            raise SystemExit(f"an honest program ended with {outcome}")
        return Measured((), measurements(assignment.source, assignment.seeds, good=False))


def earlier(count: int) -> tuple[list[Record], list[Lesson]]:
    """Returns the baselines, and so many proposals that nobody examined."""
    records, lessons = list[Record](), list[Lesson]()
    for number in range(count):
        if number < BASELINES:
            proposal, seeds = PRESET.baselines[number].proposal(), PRESET.seeds
        else:
            named = f"Mixer{10**7 + number}"
            proposal = Proposal(named, motivation(-number), program(10**7 + number), "earlier")
            seeds = PRESET.seeds[: 1 + number % 2]
        # Taking a hundred thousand fingerprints would need minutes, and is no part of a start.
        candidate = Candidate.of(proposal, f"{RULE}{number}")
        parents = (records[-1].candidate.id,) if number > BASELINES else ()
        outcome = Measured((), measurements(proposal.source, seeds, good=number < BASELINES))
        records.append(Record(number, 0, candidate, parents, outcome, PROVENANCE))
        lessons.append(Lesson(number, candidate.id, motivation(number), "recall is weak"))
    return records, lessons


# ---------------------------------------------------------------- the runs


class Run:
    """A store with earlier records, and experiments that come on top."""

    def __init__(
        self, path: Path, records: int, lab: Lab, spec: ModelSpec, instant: Instant | None = None
    ) -> None:
        """Asks the model of the spec, unless there is an instant one."""
        self.store = Store.open(path, create=True)
        self.store.append(*earlier(records))
        self.history = History(self.store.records(), self.store.lessons())
        self.lab = TrivialLab(lab)
        ledger = Ledger(keep=self._keep)
        access = Access.read([spec], {"OPENAI_API_KEY": "none"})
        client = instant or Client(access, ledger, dice=random.Random(0))
        size = PRESET.budgets[0].model
        self.team = Team(client, [spec], size, notes=self.store)

    def _keep(self, call: Call) -> None:
        self.store.append_call(call)

    def experiments(self, count: int, workers: int) -> list[float]:
        """Runs so many more experiments; returns the moments at which each was kept."""
        plan = Plan(PRESET, self.history.experiments + count, 0, workers)
        moments = [time.perf_counter()]
        done = discover(
            plan, self.team, self.lab, self.store, advisers=self.team, history=self.history
        )
        moments += (time.perf_counter() for _ in done)
        return moments


def throughput(folder: Path, lab: Lab, count: int) -> dict[str, float]:
    """Runs proposals with two workers on a store with nothing but baselines."""
    with model(0, roles="researcher+engineer") as spec:
        asking = Run(folder / "asking.sqlite", BASELINES, lab, spec)
        wall, cpu = timed(asking, count)
        peak = peak_mb()
        office = Run(folder / "office.sqlite", BASELINES, lab, spec, Instant(0))
        _, alone = timed(office, count)
    return {
        "experiments": count,
        "wall_seconds": wall,
        "wall_ms_per_experiment": 1000 * wall / count,
        "office_cpu_ms_per_experiment": 1000 * alone / count,
        "client_cpu_ms_per_experiment": 1000 * (cpu - alone) / count,
        "office_peak_mb": peak,
    }


def timed(run: Run, count: int) -> tuple[float, float]:
    """Returns the seconds of the wall clock and of the processor for so many experiments."""
    run.experiments(4, 2)  # imports, and the first connections
    before = time.process_time()
    moments = run.experiments(count, 2)
    return moments[-1] - moments[0], time.process_time() - before


def cost_at(folder: Path, lab: Lab, records: int) -> dict[str, float]:
    """Runs proposals one by one beside so many records, their nearest ideas asked for."""
    with model(10**6, roles="researcher+engineer+novelty_judge") as spec:
        run = Run(folder / "size.sqlite", records, lab, spec)
        run.experiments(4, 1)  # gathers what the store holds
        before = time.process_time()
        moments = run.experiments(AT_SIZE, 1)
        spent = time.process_time() - before
    each = [later - sooner for sooner, later in itertools.pairwise(moments)]
    return {
        "wall_ms": 1000 * statistics.median(each),
        "cpu_ms": 1000 * spent / AT_SIZE,
        "peak_mb": peak_mb(),
    }


def repeats_are_refused(folder: Path, lab: Lab) -> None:
    """Raises unless a model that repeats itself is refused, at no examination."""
    with model(0, roles="researcher+engineer", same=True) as spec:
        run = Run(folder / "same.sqlite", BASELINES, lab, spec)
        run.experiments(3, 1)
    last = run.history[-1].outcome
    if not isinstance(last, Rejected) or last.check != "novelty" or run.lab.examined != 1:
        raise SystemExit(f"a program that was said twice ended with {last}")


def rank_from_all_records(records: list[Record]) -> list[str]:
    """Returns the ids of all that can be compared, the fittest first."""
    found = results(records)
    scale = Scale.of(found)
    fits = [(scale.fitness(one).rank_key, -one.experiment, one) for one in found]
    return [one.candidate.id for *_, one in sorted(fits, key=lambda fit: fit[:2], reverse=True)]


def rival() -> float:
    """Returns how much longer the ranks take from all records than from what is gathered."""
    records, lessons = earlier(1000)
    history = History(records, lessons)
    ranked(history)
    took = []
    for ask in (lambda: rank_from_all_records(records), lambda: ranked(history, most=50)):
        started = time.perf_counter()
        for _ in range(5):
            ask()
        took.append(time.perf_counter() - started)
    slow = rank_from_all_records(records)[:50]
    if slow != [one.candidate.id for one in ranked(history, most=50)]:
        raise SystemExit("gathered, the ranks are others than from all records")
    return took[0] / took[1]


def peak_mb() -> float:
    """Returns the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def apart(*arguments: str) -> dict[str, float]:
    """Returns what this file prints in a process of its own, so that each has its own peak."""
    command = [sys.executable, __file__, *arguments]
    found: dict[str, float] = json.loads(subprocess.check_output(command))
    return found


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=200)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--part", choices=["throughput", "size"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        with tempfile.TemporaryDirectory() as folder, Lab() as lab:
            if given.part == "throughput":
                told = throughput(Path(folder), lab, given.experiments)
            else:
                told = cost_at(Path(folder), lab, given.records)
        print(json.dumps(told))
        return
    with tempfile.TemporaryDirectory() as folder, Lab() as lab:
        repeats_are_refused(Path(folder), lab)
    figures = apart("--part", "throughput", "--experiments", str(given.experiments))
    small = apart("--part", "size", "--records", "1000")
    large = apart("--part", "size", "--records", str(given.records))
    figures |= {
        f"growth_{given.records}_over_1000": large["wall_ms"] / small["wall_ms"],
        "growth_cpu": large["cpu_ms"] / small["cpu_ms"],
        "wall_ms_at_1000": small["wall_ms"],
        "office_peak_mb_1000": small["peak_mb"],
        f"office_peak_mb_{given.records}": large["peak_mb"],
        "from_all_records_over_gathered": rival(),
    }
    print(json.dumps({"bench": "loop", "machine": hardware(), "figures": figures}))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
