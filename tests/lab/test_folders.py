"""A program of several files: what it may import, and what an error names."""

import sys
from typing import Any

import pytest
import torch

from move37.lab.loading import PACKAGE, Refused, load_program
from move37.records import Folder, SourceFile
from move37.verify.subject import describe, in_short

NORM = """
from torch import nn

LOADED = []

class RMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.RMSNorm(dim)

    def forward(self, x):
        return self.norm(x)
"""
MIXER = """
from torch import nn
{imports}

class Mine(nn.Module):
    def __init__(self, dim, *, heads):
        super().__init__()
        self.norm = RMSNorm(dim)

    def forward(self, x):
        return self.norm(x)
"""


def folder(name: str = "my_layers", program: str = "mixer.py", **texts: str) -> Folder:
    """Names of files as keywords: norms__rms is norms/rms.py."""
    others = (SourceFile(f"{key.replace('__', '/')}.py", text) for key, text in texts.items())
    return Folder(name, program, tuple(others))


def load(imports: str, files: Folder) -> Any:
    return load_program(MIXER.format(imports=imports), "Mine", files).make(8, 2)


@pytest.mark.parametrize(
    "imports",
    [
        "from .norm import RMSNorm",
        "from my_layers.norm import RMSNorm",
        "from . import norm\nRMSNorm = norm.RMSNorm",
        "from my_layers import norm\nRMSNorm = norm.RMSNorm",
        "import my_layers.norm as norm\nRMSNorm = norm.RMSNorm",
        "import my_layers.norm\nRMSNorm = my_layers.norm.RMSNorm",
        "from .norm import *",
    ],
)
def test_files_are_imported_by_their_place_and_by_the_folders_name(imports: str) -> None:
    assert load(imports, folder(norm=NORM))(torch.ones(1, 2, 8)).shape == (1, 2, 8)


def test_a_folder_in_the_folder_is_a_package_with_or_without_its_own_file() -> None:
    for extra in ({}, {"norms__INIT": "from .rms import RMSNorm"}):
        files = folder(norms__rms=NORM, **extra)
        files = Folder(
            files.name,
            files.program,
            tuple(SourceFile(x.path.replace("INIT", "__init__"), x.text) for x in files.others),
        )
        found = "norms" if extra else "norms.rms"
        assert load(f"from .{found} import RMSNorm", files) is not None


def test_a_file_of_a_subfolder_may_import_from_above() -> None:
    files = folder(program="deep/mixer.py", norm=NORM)
    assert load("from ..norm import RMSNorm", files) is not None


def test_each_file_runs_once() -> None:
    first = "from .norm import LOADED\nLOADED.append(1)"
    load(
        "from .norm import RMSNorm, LOADED\nfrom . import first\nassert LOADED == [1]",
        folder(norm=NORM, first=first),
    )


@pytest.mark.parametrize("name", ["json", "my-layers", "torch"])
def test_a_folder_by_the_name_of_a_library_is_imported_by_place_only(name: str) -> None:
    mixer = load("from .norm import RMSNorm", folder(name, norm=NORM))
    assert type(mixer).__module__ == f"{PACKAGE}.mixer"


def test_nothing_stays_of_the_folder_before() -> None:
    load("from .norm import RMSNorm", folder(norm=NORM))
    load("from .norm import RMSNorm", folder("others", norm=NORM))
    assert not [name for name in sys.modules if name.startswith("my_layers")]


def test_a_file_that_is_refused_is_named_with_its_line() -> None:
    with pytest.raises(Refused, match=r"^my_layers/norm\.py: line 3 imports socket"):
        load("from .norm import RMSNorm", folder(norm=f"\n\nimport socket\n{NORM}"))


def test_a_file_that_nothing_imports_is_not_looked_at() -> None:
    assert load("from .norm import RMSNorm", folder(norm=NORM, train="import socket")) is not None


def test_a_name_without_stand_in_is_named_with_its_file() -> None:
    text = f"from fla.modules import Missing\n{NORM}"
    with pytest.raises(Refused, match=r"fla\.modules\.Missing has no .*my_layers/norm\.py, line 1"):
        load("from .norm import RMSNorm", folder(norm=text))


def test_a_missing_file_is_missing() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"my_layers\.other"):
        load("from .other import RMSNorm", folder(norm=NORM))


def test_an_error_is_told_with_the_file_and_the_line() -> None:
    broken = NORM.replace("return self.norm(x)", "return self.norm(x) @ x")
    mixer = load("from .norm import RMSNorm", folder(norm=broken))
    with pytest.raises(RuntimeError) as caught:
        mixer(torch.ones(1, 2, 8))
    assert "my_layers/norm.py, line 12: return self.norm(x) @ x" in describe(caught.value)
    assert in_short(caught.value).endswith("my_layers/norm.py, line 12: return self.norm(x) @ x")


def test_a_syntax_error_is_told_with_the_file_and_the_line() -> None:
    with pytest.raises(SyntaxError) as caught:
        load("from .norm import RMSNorm", folder(norm="x = 1\ndef f(:"))
    assert "my_layers/norm.py, line 2: def f(:" in describe(caught.value)


# ---------------------------------------------------------------- what a layer does not need


def test_a_layer_that_reads_an_environment_finds_it_empty() -> None:
    source = MIXER.format(imports="import os\nfrom torch.nn import RMSNorm")
    source = source.replace(
        "super().__init__()", "super().__init__()\n        self.set = {**os.environ}"
    )
    mixer: Any = load_program(source).make(8, 2)
    assert mixer.set == {}


def test_what_would_need_the_module_is_refused_where_it_is_used() -> None:
    with pytest.raises(Refused, match=r"os\.system is not there for a mixer"):
        load_program("import os\nos.system('ls')\n")


def test_a_layer_may_use_the_activations_of_transformers() -> None:
    imports = "from transformers.activations import ACT2FN\nRMSNorm = lambda dim: ACT2FN['gelu']"
    source = MIXER.format(imports=imports)
    x = torch.randn(1, 2, 8)
    assert torch.equal(load_program(source).make(8, 2)(x), torch.nn.functional.gelu(x))


def test_a_guarded_import_of_other_parts_of_transformers_is_left_out() -> None:
    guarded = (
        "try:\n    from transformers.modeling_utils import _init_weights\n"
        "except ImportError:\n    _init_weights = True\nassert _init_weights\n"
        "from torch.nn import RMSNorm"
    )
    assert load_program(MIXER.format(imports=guarded)).make(8, 2) is not None
