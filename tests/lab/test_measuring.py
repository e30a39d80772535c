"""What is measured from outside of a candidate's process is what it is; slow twin: `train`."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from move37.lab.client import Lab, LabError
from move37.lab.link import Closed, Flood, Link
from move37.lab.loading import load_mixer
from move37.lab.words import Garbled
from move37.loop import assignment
from move37.presets import SMOKE
from move37.records import Crashed, Measured, Measurement, Rejected
from move37.train.trainer import train

MIXER = """
import torch
from torch import Tensor, nn

class Mixer(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)
        {more}

    def forward(self, x_BTD: Tensor) -> Tensor:
        return {output}
"""
LOSS = """
    def auxiliary_loss(self):
        return {loss}
"""
PROGRAMS = {
    "a mixer of the library": SMOKE.reference.proposal().source,
    "weights that are not trained": MIXER.format(
        more="self.scale = nn.Parameter(torch.rand(dim), requires_grad=False)",
        output="self.project(x_BTD) * self.scale",
    ),
    "weights that no output depends on": MIXER.format(
        more="self.idle = nn.Linear(3, 5)", output="self.project(x_BTD)"
    ),
    "a buffer that is drawn": MIXER.format(
        more="self.register_buffer('angle', torch.randn(dim))",
        output="self.project(x_BTD) * self.angle.cos()",
    ),
    "no weights": MIXER.format(more="del self.project", output="x_BTD.cumsum(dim=1) / 10"),
    "a constant": MIXER.format(
        more="self.value = nn.Parameter(torch.rand(dim))", output="self.value.expand(x_BTD.shape)"
    ),
    "weights in another order of memory": MIXER.format(
        more="self.turned = nn.Parameter(torch.rand(dim, dim).T / dim)",
        output="self.project(x_BTD) @ self.turned",
    ),
    "a loss of its own": MIXER.format(
        more="self.gauge = nn.Parameter(torch.zeros(1))",
        output="self.project(x_BTD) * (1 + self.gauge)",
    )
    + LOSS.format(loss="(self.gauge - 1).square()"),
    "a loss of its own that is no part of a graph": MIXER.format(
        more="", output="self.project(x_BTD)"
    )
    + LOSS.format(loss="torch.ones(())"),
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def timeless(measurement: Measurement) -> Measurement:
    return replace(measurement, seconds=0.0, peak_bytes=0)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_mixer_measured_apart_has_the_numbers_of_one_that_is_trained_in_one_process(
    lab: Lab, program: str
) -> None:
    source = PROGRAMS[program]
    recall = next(budget for budget in SMOKE.budgets if budget.task == "recall")
    apart = lab.examine(
        replace(assignment(SMOKE, source, seeds=(3,), checks=()), budgets=(recall,))
    )
    assert isinstance(apart, Measured), apart
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the lab
    here, _ = train(load_mixer(source), recall, seed=3)
    torch.set_num_threads(threads)
    assert [timeless(one) for one in apart.measurements] == [timeless(here)]


def test_work_whose_sizes_depend_on_the_input_is_refused_with_the_reason(lab: Lab) -> None:
    chosen = "self.project(x_BTD)[x_BTD > 0].unflatten(0, (int((x_BTD > 0).sum()), 1))"
    source = MIXER.format(
        more="", output=f"torch.zeros_like(x_BTD).masked_scatter(x_BTD > 0, {chosen})"
    )
    outcome = lab.examine(assignment(SMOKE, source, seeds=(0,), checks=()))
    assert isinstance(outcome, Rejected)
    assert outcome.check == "sub-quadratic"
    assert "on which sizes, has to depend on the length only" in outcome.evidence


STATE = """
    class State(typing.NamedTuple):
        total_BD: torch.Tensor
        more: dict
        count: int

    def initial_state(self, batch):
        return self.State(torch.zeros(batch, self.dim), {"last": [torch.zeros(1)]}, 0)

    def step(self, x_BD, state):
        count = state.count + 1
        total_BD, more = state.total_BD + x_BD, {"last": [x_BD[:1, 0]]}
        return self.project(total_BD) / count, self.State(total_BD, more, count)
"""


def test_the_bytes_of_a_state_are_those_of_the_tensors_in_it(lab: Lab) -> None:
    mean = "self.project(x_BTD.cumsum(1)) / torch.arange(1, 1 + x_BTD.shape[1])[:, None]"
    source = "import typing\n" + MIXER.format(more="self.dim = dim", output=mean)
    outcome = lab.examine(assignment(SMOKE, source + STATE, seeds=(0,), checks=()))
    assert isinstance(outcome, Measured), outcome
    layers, width = SMOKE.budgets[0].model.layers, SMOKE.budgets[0].model.width
    assert {one.state_bytes for one in outcome.measurements} == {layers * (width + 1) * 4}


COUNT_IN_A_SIZE = """
    def initial_state(self, batch):
        return torch.zeros(0, 0)

    def step(self, x_BD, state):
        count = state.shape[1] + 1
        return self.project(x_BD) / count, torch.zeros(0, count)
"""


def test_numbers_that_the_sizes_of_a_state_hide_are_counted(lab: Lab) -> None:
    mean = "self.project(x_BTD) / torch.arange(1, 1 + x_BTD.shape[1])[:, None]"
    source = MIXER.format(more="", output=mean) + COUNT_IN_A_SIZE
    outcome = lab.examine(assignment(SMOKE, source, seeds=(0,), checks=()))
    assert isinstance(outcome, Measured), outcome
    dimensions, layers = 2, SMOKE.budgets[0].model.layers
    assert {one.state_bytes for one in outcome.measurements} == {layers * dimensions * 8}


@pytest.mark.parametrize("dtype", ["complex64", "bfloat16", "float16"])
def test_weights_that_the_optimiser_does_not_take_are_a_crash_that_says_so(
    lab: Lab, dtype: str
) -> None:
    source = MIXER.format(
        more=f"self.turn = nn.Parameter(torch.randn(dim).to(torch.{dtype}))",
        output="self.project(x_BTD) * self.turn.real.to(x_BTD.dtype)",
    )
    outcome = lab.examine(assignment(SMOKE, source, seeds=(0,), checks=()))
    assert isinstance(outcome, Crashed)
    assert f"a weight is {dtype}" in outcome.error


def test_weights_that_no_model_has_room_for_are_refused(lab: Lab) -> None:
    source = MIXER.format(more="self.large = nn.Linear(10_000, 10_000)", output="x_BTD")
    outcome = lab.examine(assignment(SMOKE, source, seeds=(0,), checks=()))
    assert isinstance(outcome, Rejected)
    assert "more parameters than the whole model" in outcome.evidence


def test_a_task_that_has_no_batches_is_no_candidates_fault(lab: Lab) -> None:
    recall = next(budget for budget in SMOKE.budgets if budget.task == "recall")
    made = assignment(SMOKE, PROGRAMS["no weights"], seeds=(0,), checks=())
    too_long = replace(made, budgets=(replace(recall, length=4_000),))
    with pytest.raises(LabError, match="the task 'recall' has no batches"):
        lab.examine(too_long)


def test_memory_and_time_are_measured_in_both_processes(lab: Lab) -> None:
    outcome = lab.examine(assignment(SMOKE, PROGRAMS["no weights"], seeds=(0,), checks=()))
    assert isinstance(outcome, Measured)
    for measurement in outcome.measurements:
        assert measurement.peak_bytes > 0
        assert measurement.seconds > 0


# ---------------------------------------------------------------- the link


def ends() -> tuple[Link, int]:
    """Returns a link and the descriptor of its other end."""
    ours, theirs = socket.socketpair()
    return Link(ours.detach()), theirs.detach()


def test_tensors_arrive_as_they_were_sent_whatever_their_sizes() -> None:
    sent = [torch.randn(shape) for shape in ((3, 5), (), (0, 7), (1,), *[(2,)] * 600)]
    link, other = ends()
    Link(other).send({"word": 1}, sent)
    assert link.receive() == {"word": 1}
    received = [torch.empty_like(tensor) for tensor in sent]
    link.fill(received)
    assert all(torch.equal(a, b) for a, b in zip(sent, received, strict=True))


def test_what_comes_after_a_message_is_kept_for_the_next() -> None:
    link, other = ends()
    there, got = Link(other), torch.empty(2)
    there.send({"first": 1}, [torch.ones(2)])
    there.send({"second": 2})
    assert link.receive() == {"first": 1}
    link.fill([got])
    assert got.tolist() == [1, 1]
    assert link.receive() == {"second": 2}


@pytest.mark.parametrize("written", [b"", b"half a li"])
def test_an_end_that_closes_within_a_line_is_told(written: bytes) -> None:
    link, other = ends()
    os.write(other, written)
    os.close(other)
    with pytest.raises(Closed):
        link.receive()


def test_an_end_that_closes_within_a_tensor_is_told() -> None:
    link, other = ends()
    os.write(other, b'{"word": 1}\nshort')
    os.close(other)
    link.receive()
    with pytest.raises(Closed):
        link.fill([torch.empty(100)])


@pytest.mark.parametrize("line", [b"no JSON", b"[1]", b"\xff\xfe", b"[" * 10_000])
def test_a_line_that_is_no_object_is_garbled(line: bytes) -> None:
    link, other = ends()
    os.write(other, line + b"\n")
    with pytest.raises(Garbled, match="said what no examination says"):
        link.receive()


def _write_for_ever(descriptor: int) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while True:
            os.write(descriptor, b"x" * 65536)


def test_a_line_without_end_is_a_flood() -> None:
    link, other = ends()
    thread = threading.Thread(target=_write_for_ever, args=(other,))
    thread.start()
    with pytest.raises(Flood):
        link.receive()
    link.close()
    thread.join()
