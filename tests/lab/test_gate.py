"""The courtesy filter: the usual mistakes are refused with their line, what mixers need is not.

`escapes` holds whole programs; here is each way by itself, with the line that is named.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from move37.lab import gate
from move37.lab.gate import NO_MORE
from move37.lab.loading import Refused, check_imports, load_mixer
from move37.nn.interop import stand_down, stand_in

ROOT = Path(__file__).parents[2]
MIXER = """
from torch import nn
class Mixer(nn.Module):
    def __init__(self, dim, *, heads):
        super().__init__()
        self.project = nn.Linear(dim, dim)
    def forward(self, x):
        return self.project(x)
"""


@pytest.fixture(autouse=True)
def _as_in_the_lab() -> Iterator[None]:
    stand_in(although_usable=True)
    yield
    stand_down()


def told(source: str) -> str:
    """Returns what the gate says of a program's text."""
    with pytest.raises(Refused) as caught:
        check_imports(source)
    assert caught.value.check == "imports"
    return str(caught.value)


# ---------------------------------------------------------------- modules behind modules


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import warnings\nwarnings.sys.modules", "line 2 uses warnings.sys, the module sys:"),
        ("import torch\ntorch.sys", "line 2 uses torch.sys, the module sys:"),
        ("import torch as t\nx = 1\nt.sys", "line 3 uses torch.sys, the module sys:"),
        ("import dataclasses\ndataclasses.builtins", "line 2 uses dataclasses.builtins, the "),
        ("import dataclasses as d\nd.inspect.os", "line 2 uses dataclasses.inspect"),
        ("import typing\ntyping.sys", "line 2 uses typing.sys, the module sys:"),
        ("import einops\neinops._backends", "line 2 uses einops._backends:"),
        (
            "import collections.abc\ncollections._sys",
            "line 2 uses collections._sys, the module sys:",
        ),
        (
            "import torch.nn.functional as F\nF.importlib",
            "line 2 uses torch.nn.functional.importlib, the module importlib:",
        ),
        (
            "from torch import nn\nnn.functional.importlib.import_module('os')",
            "line 2 uses import_module:",
        ),
        ("import torch\ndef f(x=torch.sys): pass", "line 2 uses torch.sys, the module sys:"),
        ("import torch\ndef f(torch=torch.sys): pass", "line 2 uses torch.sys, the module sys:"),
        ("import torch\n@torch.sys.settrace\ndef f(): pass", "line 2 uses torch.sys, the module"),
        ("import torch\nx = f'{torch.sys}'", "line 2 uses torch.sys, the module sys:"),
        ("import torch\n[torch for torch in [torch.sys]]", "line 2 uses torch.sys, the module"),
        ("import torch\nclass A:\n    torch = 1\n    x = torch.sys", "line 4 uses torch.sys,"),
        ("import torch as t\ndef f(t):\n    def g():\n        global t\n        t.sys", "line 5"),
        ("import warnings\nvars(warnings)['sys']", "line 2 uses vars:"),
        ("import warnings\nwarnings.__dict__['sys']", "line 2 uses __dict__:"),
        ("from move37.nn import ops\nops.kernels.sys", "line 2 uses sys:"),
        ("import move37.nn.ops\nmove37.verify", "line 2 uses move37.verify:"),
        ("x = f()\nx.sys.modules", "line 2 uses sys:"),
    ],
)
def test_a_module_is_not_reached_through_another(source: str, words: str) -> None:
    assert told(source).startswith(words)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("from warnings import sys", "line 1 imports warnings.sys, the module sys:"),
        ("from torch import load, sys", "line 1 imports torch.load, of torch.serialization:"),
        ("from torch import sys as s", "line 1 imports torch.sys, the module sys:"),
        (
            "from torch.nn.functional import importlib",
            "line 1 imports torch.nn.functional.importlib, the module importlib:",
        ),
        ("from torch import multiprocessing", "line 1 imports torch.multiprocessing:"),
        ("import torch.multiprocessing as mp", "line 1 imports torch.multiprocessing:"),
        ("import torch.distributed as dist", "line 1 imports torch.distributed:"),
        ("import torch.utils.cpp_extension", "line 1 imports torch.utils.cpp_extension:"),
        ("from torch._C import _nn", "line 1 imports torch._C:"),
        ("from collections import _sys", "line 1 imports collections._sys"),
        ("from logging import os", "line 1 imports logging.os, the module os:"),
        ("import logging.handlers", "line 1 imports logging.handlers:"),
        ("import move37.verify", "line 1 imports move37.verify: a mixer computes"),
        ("from move37 import lab", "line 1 imports move37.lab:"),
        ("from move37.nn.mixers.titans import Titans", "line 1 imports move37.nn.mixers.titans:"),
        ("from move37.nn import language_model", "line 1 imports move37.nn.language_model:"),
        ("from . import x", "line 1 imports .: a mixer computes"),
        ("import operator", "line 1 imports operator: a mixer computes"),
    ],
)
def test_a_module_is_not_imported_from_another(line: str, words: str) -> None:
    assert words in told(line)


# ---------------------------------------------------------------- what modules hold beside


@pytest.mark.parametrize(
    "name",
    [
        "load",
        "save",
        "hub",
        "package",
        "serialization",
        "from_file",
        "classes",
        "ops",
        "library",
        "overrides",
        "distributed",
        "multiprocessing",
        "UntypedStorage",
        "to_dlpack",
        "_C",
        "_dynamo",
        "_inductor",
        "_import_dotted_name",
        "jit.load",
        "jit.save",
        "jit.fork",
        "jit.CompilationUnit",
        "utils.data",
        "utils.cpp_extension",
        "utils._python_dispatch",
        "autograd._push_saved_tensors_default_hooks",
        "cuda.os",
    ],
)
def test_a_door_of_pytorch_is_closed(name: str) -> None:
    assert told(f"import torch\nimport torch.utils.checkpoint\ntorch.{name}").startswith(
        f"line 3 uses torch.{name}"
    )


@pytest.mark.parametrize("name", ["exec", "eval", "open", "compile", "vars", "globals", "locals"])
@pytest.mark.parametrize(
    "use",
    [
        "{}('1')",
        "x = {}",
        "x = [{}]",
        "print({})",
        "f = lambda: {}",
        "def f(x={}): pass",
        "@{}\ndef f(): pass",
        "class A:\n    x = {}",
    ],
)
def test_a_function_that_may_not_be_used_is_refused_wherever_it_is_named(
    name: str, use: str
) -> None:
    line = 2 if "class" in use else 1
    assert told(use.format(name)).startswith(f"line {line} uses {name}:")


# ---------------------------------------------------------------- from objects to the interpreter


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def g(): yield\ng().gi_frame", "line 2 uses gi_frame:"),
        ("try: pass\nexcept E as e: e.__traceback__", "line 2 uses __traceback__:"),
        ("x = __builtins__", "line 1 uses __builtins__:"),
        ("class A:\n    def __torch_function__(self): pass", "line 2 defines __torch_function__:"),
        ("class A:\n    __class__ = int", "line 2 defines __class__:"),
        ("import torch\nclass A(torch.Tensor): pass", "line 2 makes a kind of tensor of its own:"),
        ("from torch import nn\nclass A(nn.Parameter): pass", "line 2 makes a kind of tensor"),
    ],
)
def test_a_way_from_an_object_to_the_interpreter_is_refused(source: str, words: str) -> None:
    assert told(source).startswith(words)


# ---------------------------------------------------------------- what is not the program's own


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import torch\ntorch.equal = f", "line 2 changes torch.equal:"),
        ("import torch\ndel torch.equal", "line 2 changes torch.equal:"),
        ("import torch\ntorch.Tensor.abs = f", "line 2 changes torch.Tensor.abs:"),
        ("from torch import nn\nnn.Module.forward = f", "line 2 changes torch.nn.Module.forward:"),
        ("import torch.nn.functional as F\nF.silu = f", "line 2 changes torch.nn.functional.silu:"),
        (
            "from move37.nn import ops\nops.delta_rule = f",
            "line 2 changes move37.nn.ops.delta_rule:",
        ),
    ],
)
def test_what_others_use_is_not_changed(source: str, words: str) -> None:
    assert told(source) == f"{words} it is not the program's own"


# ---------------------------------------------------------------- what a mixer needs

USES = """
from __future__ import annotations
import collections.abc
import dataclasses
import functools
import itertools
import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Optional, Protocol

import einops
import einops.layers.torch
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.utils.checkpoint
from einops import einsum, pack, rearrange, reduce, repeat, unpack
from einops.layers.torch import Rearrange
from torch import Tensor, autograd, device, dtype, linalg, no_grad
from torch.amp import autocast
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.cuda.amp import custom_bwd, custom_fwd
from torch.fft import irfft, rfft
from torch.nn import functional, init
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from torch._higher_order_ops.associative_scan import associative_scan
from move37.nn import ops
import move37.nn.ops as same
"""


@pytest.mark.parametrize("line", USES.strip().splitlines())
def test_what_mixers_import_may_be_imported(line: str) -> None:
    check_imports(line)


@pytest.mark.parametrize(
    "text",
    [
        "torch.matmul(x, y)",
        "torch.fft.rfft(x, n=2 * T)",
        "torch.linalg.solve_triangular(a, b, upper=False)",
        "torch.special.expm1(x)",
        "torch.nn.init.xavier_uniform_(w)",
        "nn.init._calculate_fan_in_and_fan_out(w)",
        "torch.func.grad(f)(x)",
        "torch.vmap(f)(x)",
        "torch.autograd.grad(y, x)",
        "torch.utils.checkpoint.checkpoint(f, x, use_reentrant=False)",
        "torch.amp.autocast('cuda', enabled=False)",
        "torch.cuda.amp.autocast(enabled=False)",
        "torch.cuda.is_available()",
        "torch.backends.cuda.matmul.allow_tf32 = True",
        "torch.backends.cudnn.benchmark = True",
        "torch.set_float32_matmul_precision('high')",
        "torch.compile(f)",
        "torch.compiler.disable(f)",
        "torch.compiler.is_compiling()",
        "torch.jit.script(f)",
        "torch.jit.ignore(f)",
        "torch.distributions.Gumbel(0, 1)",
        "torch.random.fork_rng()",
        "torch.profiler.record_function('scan')",
        "torch.finfo(x.dtype).min",
        "torch._assert(T > 0, 'empty')",
        "torch.__version__.split('.')",
        "einops.rearrange(x, 'b t d -> b d t')",
        "ops.delta_rule(q, k, v, b)",
        "warnings.warn('slow', stacklevel=2)",
        "F.scaled_dot_product_attention(q, k, v)",
        "act = getattr(F, name)",
        "act = getattr(nn, name)()",
        "getattr(self, f'conv_{i}')",
        "setattr(self, f'conv_{i}', layer)",
        "hasattr(torch, 'compile') and hasattr(x, '__len__')",
        "G = torch.nn.functional\nG.silu(x)",
        "if F is not None: pass",
        "text = '{d}'.format(**self.__dict__)",
        "type(self).count += 1",
        "self.__class__.__name__",
        "linear.weight._no_decay = True",
        "def f(x):\n    B, T, F = x.shape\n    return x.view(B, T * F)",
        "def f(input, compile=True, vars=()):\n    return input if compile else vars",
        "class A:\n    def eval(self): pass\n    def compile(self): return self.eval()",
        "[torch for torch in range(3)]",
        "class Double(torch.autograd.Function):\n    @staticmethod\n"
        "    def forward(ctx, x):\n        ctx.save_for_backward(x)\n        return 2 * x",
        "@dataclasses.dataclass\nclass Config:\n    width: int = dataclasses.field(default=1)",
        "@torch.no_grad()\ndef f(): pass",
        "@functools.lru_cache(maxsize=None)\ndef f(): pass",
        "def f(g):\n    @functools.wraps(g)\n    def h(*args): return g(*args)\n    return h",
        "try:\n    from fla.ops import kda\nexcept ImportError:\n    kda = None",
    ],
)
def test_what_a_mixer_needs_is_let_through(text: str) -> None:
    check_imports(f"{USES}{text}\n")


def test_all_mixers_here_bad_ones_too_pass_the_gate() -> None:
    """Or a check would not be asked."""
    folders = ("tests/cheats", "tests/honest", "tests/nn/fla_style", "move37/nn/mixers")
    for file in sorted(file for one in folders for file in (ROOT / one).glob("[a-z]*.py")):
        check_imports(file.read_text())


RUNS = """
import dataclasses
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

@dataclasses.dataclass
class Config:
    name: str = "silu"

class Pair(NamedTuple):
    first: int = 1

@torch.jit.script
def twice(x: torch.Tensor) -> torch.Tensor:
    return 2 * x

class Mixer(nn.Module):
    def __init__(self, dim, *, heads):
        super().__init__()
        for i in range(2):
            setattr(self, f"project_{i}", nn.Linear(dim, dim))
        self.act = getattr(F, Config().name)
        self.extra = Pair()
    def forward(self, x):
        y = getattr(self, f"project_{self.extra.first}")(x)
        return twice(self.act(y)) if isinstance(y, torch.Tensor) else y
    def extra_repr(self):
        return "training={training}".format(**self.__dict__)
"""


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is")
def test_a_program_runs_with_its_own_built_in_names_as_with_pythons() -> None:
    mixer: Any = load_mixer(RUNS)(8, 2)
    x = torch.randn(1, 3, 8)
    assert torch.equal(mixer(x), 2 * torch.nn.functional.silu(mixer.project_1(x)))
    assert "training=True" in repr(mixer)


# ---------------------------------------------------------------- what is left out


@pytest.mark.parametrize(
    "error", ["ImportError", "ModuleNotFoundError", "(ValueError, ImportError)", "Exception", ""]
)
def test_an_import_that_a_program_does_without_is_not_there(error: str) -> None:
    source = f"""
try:
    import subprocess
except{" " if error else ""}{error}:
    subprocess = None
assert subprocess is None
"""
    assert load_mixer(source + MIXER)(8, 2) is not None


def test_an_import_that_is_guarded_against_something_else_is_refused() -> None:
    source = "try:\n    import subprocess\nexcept ValueError:\n    pass"
    assert "line 2 imports subprocess:" in told(source)


def test_what_a_guard_holds_beside_its_imports_is_read() -> None:
    source = "try:\n    import os\n    exec('x = 1')\nexcept ImportError:\n    import sys"
    assert "line 3 uses exec" in told(source)
    assert "line 5 imports sys:" in told(source)


def test_what_runs_as_a_script_only_is_left_out() -> None:
    check_imports("if __name__ == '__main__':\n    import argparse")


def test_the_other_branch_of_a_script_is_read() -> None:
    source = "if __name__ == '__main__':\n    pass\nelse:\n    import argparse"
    assert "line 4 imports argparse:" in told(source)


def test_all_that_is_refused_is_told_at_once() -> None:
    said = told("import socket\nimport sys\nimport time")
    assert all(f"line {number} imports" in said for number in (1, 2, 3))


def test_of_many_refusals_the_first_are_told() -> None:
    assert told("import sys\n" * 20).endswith("; and 12 more")


@pytest.mark.parametrize(
    "line",
    [
        "from collections import OrderedDict, defaultdict, namedtuple",
        "import copy\ncopy.deepcopy([])",
        "from abc import ABC, abstractmethod",
        "import logging\nlog = logging.getLogger(__name__)\nlog.warning('x')",
        "from typing_extensions import Self",
    ],
)
def test_the_usual_head_of_a_file_is_let_through(line: str) -> None:
    assert load_mixer(line + MIXER)(8, 2) is not None


# ---------------------------------------------------------------- other ways


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import enum", "line 1 imports enum:"),
        ("from logging import FileHandler", "line 1 imports logging.FileHandler:"),
        ("class A(type):\n    def __instancecheck__(k, x): ...", "defines __instancecheck__:"),
    ],
)
def test_a_way_around_is_closed(source: str, words: str) -> None:
    assert words in told(source)


def test_a_refusal_does_not_list_what_is_allowed() -> None:
    assert told("import numpy") == f"line 1 imports numpy: {NO_MORE}"


@pytest.mark.parametrize(
    "line", ["from .norm import Norm", "import layers.norm", "from layers.norm import Norm"]
)
def test_modules_of_the_programs_own_folder_may_be_imported(line: str) -> None:
    tree = ast.parse(line)
    gate.check(tree, own=("layers",))
    with pytest.raises(Refused, match="line 1 imports"):
        gate.check(tree)
