"""What the office costs beside the examinations: a run whose model answers at once.

The model is a server on loopback in a process of its own, which answers each request with another
program of 8 kB. An examination is a start of the full lab that loads the program; its numbers are
made up, since nothing is trained.

The headline is the processor time of the office, with a model in place of its client; the clock
would also count the start of an examination, which is the same beside any number of records.

office_cpu_ms_per_experiment       of a run of proposals with two workers, beside few records
office_cpu_growth_100000_over_1000 that of an experiment with so many records in the store, the
                                   nearest ideas among it, over that with a thousand
office_cpu_ms_slowest_percent      the 99th percentile of the first; _100000: beside so many records
start_seconds_100000               until all records are read, as a run that goes on reads them
start_cpu_seconds_100000           of these, the processor time
start_peak_mb_100000               the most memory that the office has held by then
wall_ms_per_experiment             of a run of proposals with two workers, asked over the network
client_cpu_ms_per_experiment       what the client adds to the processor time
growth_100000_over_1000            as above by the clock, with the client; median
growth_cpu                         processor time with the client: 100,000 over 1,000
office_peak_mb                     the most memory that the office of the run held
office_peak_mb_100000              the same with so many records

The records are like those of a run of the laptop preset: a measured program with the evidence of
each check; in one experiment of ten, as there, first an attempt that a check refused; and, what
programs of language models add, in one of twenty first an attempt that crashed.

Rival: the same questions answered from all records (`from_all_records_over_gathered`, for the rank
of a thousand). Input that must fail: a model that says the same program twice is refused, at no
examination.

    python bench/loop.py [--experiments 200] [--records 100000]
"""

import argparse
import hashlib
import itertools
import json
import math
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
from move37.loop import Plan, discover, hardware, read
from move37.presets import CHECKS, SMOKE
from move37.records import (
    Assignment,
    Call,
    Candidate,
    CheckResult,
    Crashed,
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
AT_SIZE = 100  # experiments whose processor time is measured beside so many records
BY_CLOCK = 40  # the same by the clock, with the client
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


ANOTHER_IDEA = '{"same": false, "as": "", "why": "another idea"}'


class Instant:
    """A model in this process, which answers without a client between."""

    def __init__(self, first: int) -> None:
        self._count, self._lock = first, threading.Lock()

    def ask(self, *_: object, role: str, **__: object) -> Reply:
        if role == "novelty_judge":
            return Reply(ANOTHER_IDEA, True, 9, 9, 0.0, 0.0, "instant")
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
                text = ANOTHER_IDEA
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


def verified(number: int, checks: Sequence[str] = CHECKS) -> tuple[CheckResult, ...]:
    """Returns checks that were passed, with evidence as long as that of a real run."""
    return tuple(
        CheckResult(one, "passed", f"the largest difference in {number % 90 + 10} draws is 3.1e-15")
        for one in checks
    )


def attempt(number: int, step: int) -> Candidate:
    """Returns the program of an earlier experiment; each attempt another one."""
    name = 10**7 * (1 + step) + number
    proposal = Proposal(f"Mixer{name}", motivation(-name), program(name), "earlier")
    # Taking a hundred thousand fingerprints would need minutes, and is no part of a start.
    return Candidate.of(proposal, f"{RULE}{name}")


def failure(number: int) -> Outcome | None:
    """Returns how the first attempt of an experiment failed; None where it did not."""
    if number % 10 == 3:
        refused = CHECKS.index("finite")
        evidence = "gradients of the input are not finite for inputs of size 1000: 3 of 64 are NaN"
        failed = CheckResult("finite", "failed", evidence)
        return Rejected("finite", evidence, (*verified(number, CHECKS[:refused]), failed))
    if number % 20 == 7:
        error = "RuntimeError: The size of tensor a (24) must match the size of tensor b (16)\n"
        return Crashed("verify: interface", error * 10)
    return None


def earlier(count: int) -> tuple[list[Record], list[Lesson]]:
    """Returns the baselines and the experiments after them, at least so many records."""
    records, lessons = list[Record](), list[Lesson]()
    parents: tuple[str, ...] = ()
    for number in itertools.count():
        if len(records) >= count:
            return records, lessons
        is_baseline = number < BASELINES
        first = None if is_baseline else failure(number)
        if first is not None:
            candidate = attempt(number, 0)
            records.append(Record(number, 0, candidate, parents, first, PROVENANCE))
        step = int(first is not None)
        if is_baseline:
            candidate, seeds = Candidate.of(PRESET.baselines[number].proposal()), PRESET.seeds
        else:
            candidate, seeds = attempt(number, step), PRESET.seeds[: 1 + number % 2]
        numbers = measurements(candidate.proposal.source, seeds, good=is_baseline)
        outcome = Measured(verified(number), numbers)
        records.append(Record(number, step, candidate, parents, outcome, PROVENANCE))
        lessons.append(Lesson(number, candidate.id, motivation(number), "recall is weak"))
        parents = () if is_baseline else (candidate.id,)
    raise AssertionError("a count has no end")


def build(path: Path, records: int) -> None:
    """Writes a store with so many earlier records."""
    with Store.open(path, create=True) as store:
        store.append(*earlier(records))


# ---------------------------------------------------------------- the runs


class Run:
    """A store with earlier records, and experiments that come on top."""

    def __init__(self, path: Path, lab: Lab) -> None:
        """Reads the store, as a run that goes on does."""
        self.store = Store.open(path)
        self.history = read(self.store)
        self.lab = TrivialLab(lab)

    def ask(self, spec: ModelSpec, instant: Instant | None = None) -> None:
        """Asks the model of the spec from now on, unless there is an instant one."""
        ledger = Ledger(keep=self._keep)
        access = Access.read([spec], {"OPENAI_API_KEY": "none"})
        client = instant or Client(access, ledger, dice=random.Random(0))
        self.team = Team(client, [spec], PRESET.budgets[0].model, notes=self.store)

    def _keep(self, call: Call) -> None:
        self.store.append_call(call)

    def experiments(self, count: int, workers: int) -> "Times":
        """Runs so many more experiments; returns what each took until it was kept."""
        plan = Plan(PRESET, self.history.experiments + count, 0, workers)
        moments = [(time.perf_counter(), time.process_time())]
        done = discover(
            plan, self.team, self.lab, self.store, advisers=self.team, history=self.history
        )
        moments += ((time.perf_counter(), time.process_time()) for _ in done)
        return Times(moments)


class Times:
    """The clock and the processor time of the office, at the end of each experiment."""

    def __init__(self, moments: Sequence[tuple[float, float]]) -> None:
        walls, cpus = [wall for wall, _ in moments], [cpu for _, cpu in moments]
        self.wall_seconds, self.cpu_seconds = walls[-1] - walls[0], cpus[-1] - cpus[0]
        self.each_wall = [later - sooner for sooner, later in itertools.pairwise(walls)]
        self.each_cpu = [later - sooner for sooner, later in itertools.pairwise(cpus)]

    @property
    def slowest_percent_ms(self) -> float:
        """Returns the 99th percentile of the processor time of an experiment."""
        return 1000 * sorted(self.each_cpu)[math.ceil(0.99 * len(self.each_cpu)) - 1]


def instant_spec(roles: str) -> ModelSpec:
    """Returns the name of a model that is never asked: an instant one answers for it."""
    return parse_model(f"http://127.0.0.1:9/v1#instant,input=1,output=2,roles={roles}")


def throughput(folder: Path, lab: Lab, count: int) -> dict[str, float]:
    """Runs proposals with two workers on a store with nothing but baselines."""
    for name in ("asking", "office"):
        build(folder / name, BASELINES)
    with model(0, roles="researcher+engineer") as spec:
        asking = Run(folder / "asking", lab)
        asking.ask(spec)
        asking.experiments(4, 2)  # imports, and the first connections
        whole = asking.experiments(count, 2)
        peak = peak_mb()
    office = Run(folder / "office", lab)
    office.ask(instant_spec("researcher+engineer"), Instant(0))
    office.experiments(4, 2)
    alone = office.experiments(count, 2)
    return {
        "office_cpu_ms_per_experiment": 1000 * alone.cpu_seconds / count,
        "office_cpu_ms_slowest_percent": alone.slowest_percent_ms,
        "experiments": count,
        "wall_seconds": whole.wall_seconds,
        "wall_ms_per_experiment": 1000 * whole.wall_seconds / count,
        "client_cpu_ms_per_experiment": 1000 * (whole.cpu_seconds - alone.cpu_seconds) / count,
        "office_peak_mb": peak,
    }


def cost_at(path: Path, lab: Lab) -> dict[str, float]:
    """Starts on a store, and runs proposals one by one, their nearest ideas asked for."""
    roles = "researcher+engineer+novelty_judge"
    wall, cpu = time.perf_counter(), time.process_time()
    run = Run(path, lab)
    start = {
        "start_seconds": time.perf_counter() - wall,
        "start_cpu_seconds": time.process_time() - cpu,
        "start_peak_mb": peak_mb(),
    }
    run.ask(instant_spec(roles), Instant(10**6))
    run.experiments(4, 1)  # gathers what the store holds
    office = run.experiments(AT_SIZE, 1)
    with model(2 * 10**6, roles=roles) as spec:
        run.ask(spec)
        run.experiments(4, 1)  # gathers the ideas for the new team
        whole = run.experiments(BY_CLOCK, 1)
    return start | {
        "office_cpu_ms": 1000 * office.cpu_seconds / AT_SIZE,
        "office_cpu_ms_slowest_percent": office.slowest_percent_ms,
        "wall_ms": 1000 * statistics.median(whole.each_wall),
        "cpu_ms": 1000 * whole.cpu_seconds / BY_CLOCK,
        "peak_mb": peak_mb(),
    }


def repeats_are_refused(folder: Path, lab: Lab) -> None:
    """Raises unless a model that repeats itself is refused, at no examination."""
    with model(0, roles="researcher+engineer", same=True) as spec:
        build(folder / "same", BASELINES)
        run = Run(folder / "same", lab)
        run.ask(spec)
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


def at_size(folder: Path, records: int) -> dict[str, float]:
    """Returns the costs beside so many records, which another process has written."""
    path = str(folder / f"{records}.sqlite")
    apart("--part", "build", "--records", str(records), "--store", path)
    found = apart("--part", "size", "--store", path)
    Path(path).unlink()
    return found


def part(given: argparse.Namespace) -> dict[str, float]:
    """Returns the figures of one part, for the process that has asked for them."""
    if given.part == "build":
        build(given.store, given.records)
        return {}
    with tempfile.TemporaryDirectory() as folder, Lab() as lab:
        if given.part == "throughput":
            return throughput(Path(folder), lab, given.experiments)
        return cost_at(given.store, lab)


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=200)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--part", choices=["throughput", "build", "size"], help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(part(given)))
        return
    started, many = time.perf_counter(), given.records
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Lab() as lab:
            repeats_are_refused(folder, lab)
        few = apart("--part", "throughput", "--experiments", str(given.experiments))
        small, large = at_size(folder, 1000), at_size(folder, many)
    figures = {
        "office_cpu_ms_per_experiment": few.pop("office_cpu_ms_per_experiment"),
        f"office_cpu_growth_{many}_over_1000": large["office_cpu_ms"] / small["office_cpu_ms"],
        "office_cpu_ms_slowest_percent": few.pop("office_cpu_ms_slowest_percent"),
        f"office_cpu_ms_slowest_percent_{many}": large["office_cpu_ms_slowest_percent"],
        f"start_seconds_{many}": large["start_seconds"],
        f"start_cpu_seconds_{many}": large["start_cpu_seconds"],
        f"start_peak_mb_{many}": large["start_peak_mb"],
        **few,
        f"growth_{many}_over_1000": large["wall_ms"] / small["wall_ms"],
        "growth_cpu": large["cpu_ms"] / small["cpu_ms"],
        "office_cpu_ms_at_1000": small["office_cpu_ms"],
        "wall_ms_at_1000": small["wall_ms"],
        "office_peak_mb_1000": small["peak_mb"],
        f"office_peak_mb_{many}": large["peak_mb"],
        "from_all_records_over_gathered": rival(),
        "bench_seconds": time.perf_counter() - started,
    }
    print(json.dumps({"bench": "loop", "machine": hardware(), "figures": figures}))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
