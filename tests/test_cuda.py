"""On a GPU: the same numbers as on the processor, and the whole way of an experiment.

Shape letters: B batch, T time, D model width.
"""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from move37.lab.client import Lab
from move37.loop import assignment
from move37.nn.mixers import MIXERS
from move37.presets import SMOKE
from move37.records import Assignment, Measured
from tests.nn.test_mixers import HEADS, decode, distance, inputs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    # fla and Triton warn of their own at import.
    pytest.mark.filterwarnings("default"),
]

T = 150
WIDTH = 128  # 32 a head: the kernels take these
each_mixer = pytest.mark.parametrize("kind", MIXERS, ids=lambda kind: kind.__name__)


def built(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    mixer: nn.Module = kind(WIDTH, heads=HEADS)
    return mixer.double()


@each_mixer
def test_a_mixer_gives_the_same_output_and_gradients(kind: type[nn.Module]) -> None:
    here, x_BTD = built(kind), inputs(T, WIDTH).requires_grad_()
    there, moved_BTD = copy.deepcopy(here).cuda(), x_BTD.detach().cuda().requires_grad_()
    one_BTD, other_BTD = here(x_BTD), there(moved_BTD)
    assert distance(other_BTD.cpu(), one_BTD) <= 1e-9
    slope_BTD = inputs(T, WIDTH, seed=1)
    wanted = torch.autograd.grad(one_BTD, [x_BTD, *here.parameters()], slope_BTD)
    found = torch.autograd.grad(other_BTD, [moved_BTD, *there.parameters()], slope_BTD.cuda())
    for gradient, expected in zip(found, wanted, strict=True):
        assert distance(gradient.cpu(), expected) <= 1e-7


@each_mixer
@torch.no_grad()
def test_a_mixer_in_half_precision_stays_near(kind: type[nn.Module]) -> None:
    exact, x_BTD = built(kind), inputs(T, WIDTH)
    half = copy.deepcopy(exact).to("cuda", torch.bfloat16)
    said_BTD = half(x_BTD.to("cuda", torch.bfloat16))
    assert distance(said_BTD.double().cpu(), exact(x_BTD)) <= 0.1


@each_mixer
@torch.no_grad()
def test_step_by_step_equals_all_at_once(kind: type[nn.Module]) -> None:
    mixer, x_BTD = built(kind).cuda(), inputs(T, WIDTH).cuda()
    assert distance(decode(mixer, x_BTD)[0], mixer(x_BTD)) <= 1e-9


def work(device: str) -> Assignment:
    return assignment(SMOKE, SMOKE.reference.proposal().source, seeds=(0,), device=device)


def test_a_candidate_is_measured_on_the_gpu_as_on_the_processor() -> None:
    with Lab() as lab:
        here, there = (lab.examine(work(device)) for device in ("cpu", "cuda"))
    assert isinstance(here, Measured)
    assert isinstance(there, Measured), there
    for one, other in zip(here.measurements, there.measurements, strict=True):
        assert other.curve[-1].loss == pytest.approx(one.curve[-1].loss, rel=0.05)


def test_a_run_trains_on_the_gpu(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    words = ["run", "--preset", "smoke", "--device", "cuda", "--store", str(store)]
    program = "from move37.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=280
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
