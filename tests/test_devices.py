"""CUDA that is not there is said before anything starts."""

import json
import sys
from pathlib import Path

import pytest

from move37 import agents, devices, doctor
from move37.loop import Plan, discover
from move37.records import InputError
from move37.research.composer import Composer
from move37.store.store import Store
from tests.fakes import FakeLab, preset
from tests.test_cli import WIDE, move37

HIDDEN = {**WIDE, "CUDA_VISIBLE_DEVICES": ""}  # also on a machine that has a card


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = devices.Cuda("", "PyTorch 2.9 finds no CUDA device")
    monkeypatch.setattr(devices, "cuda", lambda: absent)


@pytest.fixture
def of_cuda(tmp_path: Path) -> Path:
    """A store with baselines that was started on CUDA."""
    path, plan = tmp_path / "store.sqlite", Plan(preset(ruler=None), 5, 0, device="cuda")
    with Store.open(path, create=True) as store:
        store.keep_settings(plan.settings)
        for _ in discover(plan, Composer(), FakeLab(), store):
            pass
    return path


@pytest.mark.parametrize("command", ["run", "step"])
def test_cuda_that_is_not_there_is_one_sentence_and_no_store_is_made(
    tmp_path: Path, command: str
) -> None:
    path = tmp_path / "store.sqlite"
    arguments = ("--preset", "smoke", "--device", "cuda", "--store", str(path))
    done = move37(command, *arguments, env=HIDDEN)
    assert done.returncode == 2
    assert done.stdout == ""
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("move37: the device cuda cannot be used: PyTorch ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("without_cuda")
def test_a_submit_to_a_store_of_cuda_is_refused_before_anything_is_measured(of_cuda: Path) -> None:
    lab = FakeLab()
    with pytest.raises(InputError, match="the device cuda cannot be used: PyTorch 2"):
        agents.submit(
            preset(ruler=None), of_cuda, "class A:\n    pass\n", agents.Words("It may help."), lab
        )
    assert lab.assignments == []


@pytest.mark.usefixtures("without_cuda")
def test_an_agent_is_told_without_options_of_a_command_line() -> None:
    with pytest.raises(InputError) as refused:
        devices.require("cuda")
    assert "--" not in str(refused.value)


def test_the_cpu_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")  # any question would fail
    devices.require("cpu")


def test_a_torch_that_cannot_be_imported_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.12 is missing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    devices.cuda.cache_clear()
    with pytest.raises(InputError, match=r"cannot be imported .*libcudart.so.12 is missing"):
        devices.cuda()


@pytest.mark.parametrize(
    ("torch", "told"),
    [
        ("version.cuda = None", "PyTorch 2.9 is built without CUDA"),
        ("version.cuda = '12.8'", "PyTorch 2.9 finds no CUDA device"),
        (
            "version.cuda = '12.8'; cuda.is_available = lambda: True",
            "PyTorch 2.9 sees a CUDA device that does not work: RuntimeError: busy",
        ),
    ],
)
def test_the_reason_is_what_pytorch_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch: str, told: str
) -> None:
    (tmp_path / "torch.py").write_text(
        "class version: pass\n"
        "class cuda:\n    is_available = staticmethod(lambda: False)\n"
        "def ones(*_, device): raise RuntimeError('busy')\n"
        f"__version__ = '2.9'\n{torch}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    devices.cuda.cache_clear()
    assert devices.cuda() == devices.Cuda("", told)
    devices.cuda.cache_clear()


@pytest.mark.usefixtures("without_cuda")
def test_the_doctor_has_a_line_for_cuda_and_its_absence_is_no_fault() -> None:
    finding = doctor._finding("cuda", doctor._cuda)
    assert finding.fine
    assert finding.told == "PyTorch 2.9 finds no CUDA device; --device cpu needs none"


def test_what_was_measured_on_cuda_is_shown_without_a_card(of_cuda: Path) -> None:
    top = move37("top", "--json", "--store", str(of_cuda), env=HIDDEN)
    assert len(json.loads(top.stdout)) == 5
