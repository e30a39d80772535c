"""Which programs load, and as what."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from move37.lab.client import Lab
from move37.lab.loading import Refused, check_imports, load_mixer
from move37.loop import assignment
from move37.nn.interop import stand_down
from move37.presets import SMOKE
from move37.records import Measured, Rejected
from move37.verify import CHECKS, Subject

FLA_STYLE = Path(__file__).parents[1] / "nn" / "fla_style"
HONEST = (FLA_STYLE / "delta_net.py").read_text()
LEAKING = (FLA_STYLE / "future_mean.py").read_text()
# Long enough to have chunks, short enough for a test.
TINY = (replace(SMOKE.budgets[1], tokens=2 * 384),)


@pytest.fixture(autouse=True)
def _no_stand_ins_afterwards() -> Iterator[None]:
    yield
    stand_down()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def layer(name: str, arguments: str, forward: str = "self, hidden_states") -> str:
    return (
        f"class {name}(nn.Module):\n"
        f"    def __init__(self, {arguments}):\n"
        f"        super().__init__()\n"
        f"    def forward({forward}):\n"
        f"        return hidden_states, None, None\n"
    )


def refused(source: str) -> Refused:
    with pytest.raises(Refused) as caught:
        load_mixer(f"from torch import nn\n{source}")
    return caught.value


def built(source: str) -> str:
    """The class of the layer that the program's mixer holds."""
    mixer = load_mixer(f"from torch import nn\n{source}")(8, 2)
    return type(mixer.layer).__name__


# ---------------------------------------------------------------- which class is the mixer


def test_a_layer_of_flas_interface_is_adapted() -> None:
    assert built(layer("Layer", "hidden_size=1024, num_heads=4, **kwargs")) == "Layer"


def test_a_layer_need_not_take_heads() -> None:
    assert built(layer("Layer", "hidden_size")) == "Layer"


def test_a_mixer_of_ours_comes_before_layers_of_flas_interface() -> None:
    ours = "class Ours(nn.Module):\n    def __init__(self, dim, *, heads): super().__init__()\n"
    source = ours + layer("Layer", "hidden_size, num_heads")
    assert type(load_mixer(f"from torch import nn\n{source}")(8, 2)).__name__ == "Ours"


def test_of_several_layers_the_one_with_heads_is_the_mixer() -> None:
    assert built(layer("Norm", "hidden_size") + layer("Layer", "hidden_size, num_heads")) == "Layer"


def test_of_several_layers_with_heads_the_one_that_takes_a_mask_is_the_mixer() -> None:
    gate = layer("Gate", "hidden_size, num_heads")
    masked = layer("Layer", "hidden_size, num_heads", "self, hidden_states, attention_mask=None")
    assert built(gate + masked) == "Layer"


def test_a_layer_with_two_names_is_one_layer() -> None:
    assert built(layer("Layer", "hidden_size, num_heads") + "DeltaNet = Layer\n") == "Layer"


def test_several_layers_that_could_be_the_mixer_are_named() -> None:
    error = refused(layer("One", "hidden_size, num_heads") + layer("Two", "hidden_size, num_heads"))
    assert error.check == "interface"
    assert "found One, Two; give the others a leading underscore" in str(error)


def test_a_program_without_a_mixer_is_told_both_interfaces() -> None:
    told = str(refused("x = 1"))
    assert "__init__(self, dim, *, heads)" in told
    assert "__init__(self, hidden_size, num_heads), found none" in told


# ---------------------------------------------------------------- what a program may import


@pytest.mark.parametrize(
    "line",
    [
        "from __future__ import annotations",
        "import warnings",
        "from einops import rearrange",
        "from fla.modules.l2norm import l2norm",
        "import fla.ops",
    ],
)
def test_a_program_may_import(line: str) -> None:
    check_imports(line)


@pytest.mark.parametrize("line", ["import flash", "import transformers.models", "import einopsy"])
def test_a_program_may_not_import(line: str) -> None:
    with pytest.raises(Refused, match="line 1 imports"):
        check_imports(line)


@pytest.mark.parametrize(
    "guard",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:",
        "from typing import TYPE_CHECKING as checking\nif checking:",
        "import typing\nif typing.TYPE_CHECKING:",
        "import typing as t\nif t.TYPE_CHECKING:",
    ],
)
def test_what_only_a_type_checker_reads_may_import_anything(guard: str) -> None:
    check_imports(f"{guard}\n    from transformers.processing_utils import Unpack\n")


@pytest.mark.parametrize(
    "guard",
    [
        "TYPE_CHECKING = True\nif TYPE_CHECKING:",
        "from torch import TYPE_CHECKING\nif TYPE_CHECKING:",
        "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING or True:",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:",
    ],
)
def test_what_is_no_guard_of_the_type_checker_lets_nothing_through(guard: str) -> None:
    with pytest.raises(Refused, match="imports socket"):
        check_imports(f"{guard}\n    import socket\n")


def test_what_only_a_type_checker_reads_cannot_run() -> None:
    source = (
        "from typing import TYPE_CHECKING\n"
        "TYPE_CHECKING = True\n"
        "if TYPE_CHECKING:\n"
        "    raise ValueError('ran')\n" + layer("Layer", "hidden_size")
    )
    assert built(source) == "Layer"


def test_a_name_of_fla_without_stand_in_is_refused() -> None:
    error = refused("from fla.ops.titans import chunk_titans_linear")
    assert error.check == "imports"
    assert "fla.ops.titans has no stand-in" in str(error)


# ---------------------------------------------------------------- compiling


COMPILES = """
import torch

@torch.compile
def double(x):
    return 2 * x

@torch.compile(mode="max-autotune", dynamic=True)
def triple(x):
    return 3 * x

class Layer(nn.Module):
    def __init__(self, hidden_size):
        super().__init__()
        self.run = torch.compile(self.slow)
    def slow(self, x):
        return triple(double(x))
    def forward(self, x):
        return self.run(x)
"""


def test_a_program_that_compiles_runs_as_it_is_written() -> None:
    mixer: Any = load_mixer(f"from torch import nn\n{COMPILES}")(8, 2)
    x = torch.ones(1, 2, 8)
    assert torch.equal(mixer(x), 6 * x)
    assert mixer.layer.run == mixer.layer.slow


def test_loading_leaves_the_compiler_in_its_place() -> None:
    before = torch.compile
    load_mixer(f"from torch import nn\n{COMPILES}")(8, 2)
    assert torch.compile is before


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("text = open('/etc/passwd').read()", "uses open"),
        ("eval('1')", "uses eval"),
        ("__import__('os')", "uses __import__"),
        ("x = ().__class__.__bases__", "uses __bases__"),
        ("def f(): pass\nx = f.__globals__", "uses __globals__"),
        ("import torch\ntorch.load('x')", "uses torch.load"),
        ("import torch\ntorch.hub.list('x')", "uses torch.hub"),
    ],
)
def test_what_a_mixer_has_no_use_for_is_named(line: str, told: str) -> None:
    error = refused(line)
    assert error.check == "imports"
    assert told in str(error)


def test_a_variable_may_have_the_name_of_a_function_that_is_refused() -> None:
    assert built("input = 1\nx = input\n" + layer("Layer", "hidden_size")) == "Layer"


# ---------------------------------------------------------------- through the lab


def test_an_honest_layer_passes_every_check_and_offers_documents() -> None:
    subject = Subject(load_mixer(HONEST), width=32, heads=2)
    verdicts = {name: check(subject).verdict for name, check in CHECKS.items()}
    assert verdicts == dict.fromkeys(CHECKS, "passed") | {
        "decoding": "not tried",
        "chunking": "not offered",
    }


def test_a_cast_to_half_precision_by_name_is_reported() -> None:
    source = """
from torch import nn
class Layer(nn.Module):
    def __init__(self, hidden_size, num_heads):
        super().__init__()
        self.project = nn.Linear(hidden_size, hidden_size)
    def forward(self, x, **kwargs):
        return self.project(x.bfloat16()), None, None
"""
    result = CHECKS["precision"](Subject(load_mixer(source), width=32, heads=2))
    assert result.verdict == "passed"
    assert "casts to a narrower type by name are left out here" in result.evidence


def test_a_layer_that_hears_its_future_fails_causality() -> None:
    subject = Subject(load_mixer(LEAKING), width=32, heads=2)
    assert CHECKS["interface"](subject).verdict == "passed"
    assert CHECKS["causality"](subject).verdict == "failed"


def test_a_layer_that_keeps_its_borders_to_the_convolution_fails_documents() -> None:
    source = HONEST.replace("if cu_seqlens is None else [int(border) for border in cu_seqlens]", "")
    assert ast.dump(ast.parse(source)) != ast.dump(ast.parse(HONEST))
    subject = Subject(load_mixer(source), width=32, heads=2)
    assert CHECKS["documents"](subject).verdict == "failed"


def test_an_honest_layer_is_verified_and_trained(lab: Lab) -> None:
    outcome = lab.examine(assignment(SMOKE, HONEST, seeds=(0,), budgets=TINY))
    assert isinstance(outcome, Measured), outcome
    assert [m.task for m in outcome.measurements] == ["recall"]


def test_a_leaking_layer_is_rejected_with_its_evidence(lab: Lab) -> None:
    outcome = lab.examine(assignment(SMOKE, LEAKING, seeds=(0,), budgets=TINY))
    assert isinstance(outcome, Rejected)
    assert outcome.check == "causality"


def test_a_tuple_that_begins_with_the_wrong_shape_is_rejected(lab: Lab) -> None:
    source = HONEST.replace("return o, None, past_key_values", "return o[..., 1:], None, None")
    outcome = lab.examine(assignment(SMOKE, source, seeds=(), checks=("interface",)))
    assert isinstance(outcome, Rejected)
    assert outcome.check == "interface"
    assert "(2, 1, 31)" in outcome.evidence


NAMES_OF_OTHERS = """
import torch
from torch import Tensor, nn

class Layer(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor, attention_mask=None, cu_seqlens=None) -> Tensor:
        x_BTD = self.project(x_BTD)
        if attention_mask is not None:
            x_BTD = x_BTD * attention_mask[..., None]
        if cu_seqlens is None:
            return x_BTD.cumsum(1)
        parts = x_BTD.split([int(n) for n in cu_seqlens.diff()], dim=1)
        return torch.cat([part.cumsum(1) for part in parts], dim=1)
"""


@pytest.mark.parametrize("check", ["documents", "padding"])
def test_a_mixer_that_takes_documents_and_padding_by_the_names_of_others_is_asked(
    check: str,
) -> None:
    def verdict(source: str) -> str:
        return CHECKS[check](Subject(load_mixer(source), width=32, heads=2)).verdict

    assert verdict(NAMES_OF_OTHERS) == "passed"
    wrong = NAMES_OF_OTHERS.replace("attention_mask[..., None]", "1").replace("part.", "1 + part.")
    assert verdict(wrong) == "failed"


def test_the_names_of_others_excuse_no_cast() -> None:
    source = NAMES_OF_OTHERS.replace(
        "self.project(x_BTD)", "self.project(x_BTD).bfloat16().to(x_BTD.dtype)"
    )
    result = CHECKS["precision"](Subject(load_mixer(source), width=32, heads=2))
    assert result.verdict == "failed"
