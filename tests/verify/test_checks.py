"""Every check has its cheats, and lets the honest ones pass."""

import ast
import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from move37.lab.loading import load_program
from move37.lab.worker import audit
from move37.records import Audit, Audited, CheckResult, Level
from move37.verify import CHECKS, Subject, complexity

TESTS = Path(__file__).parents[1]
CHEATS = sorted(file for file in (TESTS / "cheats").glob("[a-z]*.py"))
HONEST = sorted(file for file in (TESTS / "honest").glob("[a-z]*.py"))
MIXERS = sorted((TESTS.parent / "move37" / "nn" / "mixers").glob("[a-z]*.py"))


class Crime(NamedTuple):
    """What the first words of a cheat's docstring say: by which check it has to be caught."""

    check: str
    level: Level


def crime(file: Path) -> Crime:
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    told = docstring.removeprefix("Caught ").removeprefix("by ").split(":")[0]
    check = told.removesuffix(" at the full level")
    return Crime(check, "quick" if told == check else "full")


AT_ONCE = [file for file in CHEATS if crime(file).check != "after training"]  # those: tests/lab


def subject_of(file: Path, level: Level = "quick") -> Subject:
    program = load_program(file.read_text())
    return Subject(program.make, 32, 2, level, program.variants)


def refuses(check: str, subject: Subject) -> bool:
    """Says whether a check fails; an exception counts, as it does in the lab."""
    try:
        return CHECKS[check](subject).verdict == "failed"
    except Exception:  # noqa: BLE001  whatever a cheat raises
        return True


@pytest.mark.parametrize("file", AT_ONCE, ids=lambda file: file.stem)
def test_a_cheat_is_caught_by_the_check_that_it_names(file: Path) -> None:
    subject = subject_of(file, crime(file).level)
    first = next((check for check in CHECKS if refuses(check, subject)), None)
    assert first == crime(file).check


@pytest.mark.parametrize("check", CHECKS)
def test_without_a_check_some_cheat_would_pass(check: str) -> None:
    """Mutation test: no check can be left out."""
    for file in AT_ONCE:
        if crime(file) == (check, "quick"):
            subject = subject_of(file)
            if not any(refuses(other, subject) for other in CHECKS if other != check):
                return
    pytest.fail(f"no cheat needs {check}")


@pytest.mark.parametrize("file", HONEST, ids=lambda file: file.stem)
def test_an_odd_but_honest_mixer_passes(file: Path) -> None:
    subject = subject_of(file)
    results = [check(subject) for check in CHECKS.values()]
    assert [result for result in results if result.verdict == "failed"] == []


# The full level of all mixers, and of the honest ones, is in bench/verify.py: it takes minutes.
IN_FULL = [file for file in MIXERS if file.stem == "gated_delta_net"]


@pytest.mark.parametrize(
    ("file", "level"),
    [(file, "quick") for file in MIXERS]
    + [pytest.param(file, "full", marks=pytest.mark.slow) for file in IN_FULL],
    ids=lambda given: given.stem if isinstance(given, Path) else given,
)
def test_the_library_passes_every_check_but_softmax_attention_is_quadratic(
    file: Path, level: Level
) -> None:
    subject = subject_of(file, level)
    verdicts = {name: check(subject).verdict for name, check in CHECKS.items()}
    expected = dict.fromkeys(CHECKS, "passed") | {"chunking": "not offered"}
    if file.stem == "softmax_attention":
        expected["sub-quadratic"] = "failed"
    assert verdicts == expected


class _Honest(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:  # noqa: ARG002
        super().__init__()
        self.rate = nn.Parameter(torch.linspace(-3, 0, dim))
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.project(x_BTD) + self.rate * x_BTD
        return y_BTD


def test_what_is_not_offered_is_neither_passed_nor_failed() -> None:
    subject = Subject(lambda width, heads: _Honest(width, heads=heads), width=32, heads=2)
    assert CHECKS["decoding"](subject).verdict == "not offered"
    assert CHECKS["documents"](subject).verdict == "not offered"


class _CountsInTheEnvironment(_Honest):
    """No cheat, which would have to get at it through the lab's gate."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        os.environ["MOVE37_CALLS"] = str(int(os.environ.get("MOVE37_CALLS", "0")) + 1)
        return super().forward(x_BTD)


def test_a_forward_that_writes_to_the_environment_is_not_repeatable() -> None:
    subject = Subject(lambda width, heads: _CountsInTheEnvironment(width, heads=heads), 32, 2)
    result = CHECKS["repeatable"](subject)
    assert result.verdict == "failed"
    assert "the environment" in result.evidence


def test_a_check_leaves_no_mode_behind_that_slows_every_operator() -> None:
    CHECKS["interface"](Subject(lambda width, heads: _Honest(width, heads=heads), 32, 2))
    assert torch.overrides._get_current_function_mode_stack() == []


class _UnknownCost(_Honest):
    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.project(x_BTD) + self.rate
        nothing_BTD: Tensor = 0 * torch.linalg.pinv(y_BTD.detach()).transpose(1, 2)
        return y_BTD + nothing_BTD


def test_an_operator_of_unknown_cost_is_refused_by_name() -> None:
    subject = Subject(lambda width, heads: _UnknownCost(width, heads=heads), width=32, heads=2)
    result = CHECKS["sub-quadratic"](subject)
    assert result.verdict == "failed"
    assert "is not known" in result.evidence


HALVES = """
from torch import nn

class Heads(nn.Module):
    def __init__(self, dim, *, heads, halved=False):
        super().__init__()
        self.heads, self.halved = heads, halved
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD):
        x_BTD = x_BTD[..., ::2] if self.halved else x_BTD
        return self.project(x_BTD.unflatten(2, (self.heads, -1)).flatten(2))
"""


@pytest.mark.parametrize(
    ("width", "told"),
    [
        (66, "built with width 66, 4 heads, its forward raises RuntimeError"),
        (64, "built with halved=True, its forward raises RuntimeError"),
    ],
)
def test_what_a_constructor_accepts_and_a_forward_does_not_is_told_with_its_arguments(
    width: int, told: str
) -> None:
    program = load_program(HALVES)
    result = CHECKS["builds"](Subject(program.make, width, 4, "full", program.variants))
    assert result.verdict == "failed"
    assert result.evidence.startswith(told)


def test_a_mixer_that_changes_its_input_fails_one_check_only() -> None:
    subject = subject_of(TESTS / "cheats" / "changes_its_input.py")
    failures = [
        result for check in CHECKS.values() if (result := check(subject)).verdict == "failed"
    ]
    assert [result.check for result in failures] == ["repeatable"]
    assert failures[0].evidence == "forward changes its input in place (eval mode)"


@pytest.mark.parametrize(
    ("cheat", "check", "told"),
    [
        ("quadratic_by_pairwise_difference", "sub-quadratic", "; line 15: distance_BTT = "),
        ("quadratic_in_the_backward_pass", "sub-quadratic", "; line 17: return copies_BSTD"),
        ("quadratic_memory_under_checkpointing", "memory", "; line 9: ones_T = "),
    ],
)
def test_what_grows_is_told_with_its_line_and_what_is_allowed(
    cheat: str, check: str, told: str
) -> None:
    evidence = CHECKS[check](subject_of(TESTS / "cheats" / f"{cheat}.py")).evidence
    assert told in evidence
    assert re.search(r"at T=1[01]\d\d: (3\.9|4\.0)\d times, 1\.35 allowed", evidence)


def test_saved_memory_that_grows_is_told_with_its_line() -> None:
    source = HALVES.replace(
        "x_BTD = x_BTD[..., ::2] if self.halved else x_BTD",
        "x_BTD = x_BTD + 0 * (x_BTD[..., :1] * x_BTD[..., 0][:, None]).exp().mean(2)[..., None]",
    )
    subject = Subject(load_program(source).make, 32, 2)
    assert "; line 11: x_BTD = x_BTD + 0" in CHECKS["memory"](subject).evidence


def test_growth_is_told_where_the_search_for_its_line_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr(complexity, "_Lines", fail)
    subject = subject_of(TESTS / "cheats" / "quadratic_by_pairwise_difference.py")
    told = CHECKS["sub-quadratic"](subject).evidence
    assert re.search(r"per token at T=2\d\d", told)
    assert told.endswith("where, is not known: MemoryError: no more")


@pytest.mark.parametrize(
    ("cheat", "told"),
    [
        ("sorts_over_time", r"output \d+ hears input \d+ \(relative change .*\) \(eval mode\)"),
        ("gradient_of_the_future", r"the gradient of output \d+ reaches input \d+ \(relative size"),
    ],
)
def test_a_leak_is_told_with_its_output_and_the_later_input(cheat: str, told: str) -> None:
    evidence = CHECKS["causality"](subject_of(TESTS / "cheats" / f"{cheat}.py")).evidence
    assert re.match(told, evidence)
    output, place = (int(word) for word in re.findall(r"(?:output|input) (\d+)", evidence))
    assert output < place


def test_a_leak_by_one_place_is_told_as_one_by_one_place() -> None:
    subject = subject_of(TESTS / "cheats" / "convolution_padded_on_both_sides.py")
    evidence = CHECKS["causality"](subject).evidence
    output, place = (int(word) for word in re.findall(r"(?:output|input) (\d+)", evidence))
    assert place == output + 1


def told_of(check: str, forward: str, level: Level = "quick") -> str:
    """Returns the evidence against a mixer that projects its inputs, and then does this with x."""
    source = f"""
import torch
from torch import nn

class Mixer(nn.Module):
    def __init__(self, dim, *, heads):
        super().__init__()
        self.project = nn.Linear(dim, dim)

    def forward(self, x):
        x = self.project(x)
        {forward}
        return x
"""
    result = CHECKS[check](Subject(load_program(source).make, 32, 2, level))
    assert result.verdict == "failed"
    return result.evidence


def test_rows_that_hear_each_other_are_not_told_as_a_leak_in_time() -> None:
    told = told_of("causality", "x = x.cumsum(0)")
    assert "in other rows of the batch (see independence)" in told


def test_dice_are_not_told_as_rows_that_hear_each_other() -> None:
    told = told_of("independence", "x = x + 0.01 * torch.randn_like(x)")
    assert "with the dice (see repeatable)" in told


def test_a_forward_that_raises_is_told_with_its_input() -> None:
    told = told_of("interface", "x = x.unflatten(1, (-1, 2)).flatten(1, 2)")
    assert told.startswith("for input (2, 1, 32) torch.float32 forward raises RuntimeError")


@pytest.mark.parametrize("check", ["sub-quadratic", "memory"])
def test_at_the_full_level_what_grows_is_told_before_the_longest_sequence(check: str) -> None:
    told = told_of(check, "x = x + 0 * (x[:, :, None] * x[:, None]).exp().mean(2)", "full")
    assert re.search(r"at T=1[01]\d\d: ", told)
    assert "1.35 allowed" in told
    assert "at T=4096" not in told


class Token(nn.Linear):
    """Each token by itself."""

    def __init__(self, dim: int, *, heads: int) -> None:  # noqa: ARG002
        super().__init__(dim, dim)


class Before(Token):
    """The token before."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD = super().forward(x_BTD)
        return torch.cat([0 * y_BTD[:, :1], y_BTD[:, :-1]], dim=1)


@pytest.mark.parametrize(("kind", "share"), [(Token, "0%"), (Before, "100%")])
def test_the_share_of_the_output_that_is_memory_is_told(kind: type[Token], share: str) -> None:
    subject = Subject(lambda width, heads: kind(width, heads=heads), 32, 2)
    assert CHECKS["gradients"](subject).evidence.endswith(f"; {share} of the output is memory")


def test_a_loop_over_tokens_is_told() -> None:
    subject = subject_of(TESTS / "honest" / "loops_over_tokens.py")
    assert "; a loop over tokens: " in CHECKS["sub-quadratic"](subject).evidence


def test_growth_that_stops_is_followed_to_where_it_stops() -> None:
    file = TESTS / "honest" / "attends_to_half_a_thousand_tokens.py"
    assert CHECKS["sub-quadratic"](subject_of(file, "full")).verdict == "passed"


class UpTo2000(Token):
    """Positions in a table."""

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__(dim, heads=heads)
        self.positions = nn.Embedding(2000, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        places_TD: Tensor = self.positions(torch.arange(x_BTD.shape[1]))
        return super().forward(x_BTD) + places_TD


@pytest.mark.parametrize("check", ["sub-quadratic", "memory"])
def test_what_is_raised_at_a_length_is_told_with_it(check: str) -> None:
    subject = Subject(lambda width, heads: UpTo2000(width, heads=heads), 32, 2, "full")
    assert CHECKS[check](subject).evidence.startswith("at T=4096 (")


def test_a_parameter_as_long_as_a_chunk_depends_on_the_chunk() -> None:
    program = load_program(
        """
import torch
from torch import Tensor, nn

class Layer(nn.Module):
    def __init__(self, dim: int, *, heads: int, chunk: int = 16) -> None:
        super().__init__()
        self.by_place = nn.Parameter(torch.ones(chunk, dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        places = torch.arange(x_BTD.shape[1]) % len(self.by_place)
        return x_BTD * self.by_place[places]
"""
    )
    result = CHECKS["chunking"](Subject(program.make, 32, 2, variants=program.variants))
    assert result.evidence == "chunk=8 gives by_place another shape"


def test_a_size_of_chunk_that_the_constructor_refuses_is_not_tried() -> None:
    program = load_program(
        """
from torch import Tensor, nn

class Layer(nn.Module):
    def __init__(self, dim: int, *, heads: int, chunk: int = 64) -> None:
        super().__init__()
        assert chunk <= 64
        self.project = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.project(x_BTD)
"""
    )
    result = CHECKS["chunking"](Subject(program.make, 32, 2, variants=program.variants))
    assert result.evidence == "chunk=32: the same outputs"


# ---------------------------------------------------------------- one fault, one reason


def audited(source: str, *checks: str, level: Level = "quick") -> dict[str, CheckResult]:
    what = Audit(source, None, checks or tuple(CHECKS), level, 32, 2, 600.0, 0)
    outcome = audit(what, lambda stage: None)
    assert isinstance(outcome, Audited), outcome
    return {check.check: check for check in outcome.checks}


def invented(file: Path) -> list[str]:
    """Returns the checks that a cheat fails in an audit without having to."""
    named, level = crime(file)
    return [
        name
        for name, check in audited(file.read_text(), level=level).items()
        if check.verdict == "failed"
        and name != named
        and not check.evidence.startswith(f"follows from {named}: ")
    ]


# One of each kind here; bench/verify.py counts over all cheats.
@pytest.mark.parametrize(
    "cheat",
    [
        "answers_with_the_last_input",
        "batch_statistics",
        "counts_its_calls",
        "documents_run_together",
        "experts_overflow_by_other_rows",
        "future_mean",
        "hard_wired_dtype",
        "pairs_inside_one_operator",
        "remembers_in_a_global",
        "sets_the_default_dtype",
        "single_token_loses_its_dimension",
        "turns_gradients_off_in_eval_mode",
        "uninitialised_parameter",
    ],
)
def test_one_fault_has_one_reason(cheat: str) -> None:
    assert invented(TESTS / "cheats" / f"{cheat}.py") == []


def test_a_layer_that_counts_its_calls_is_not_accused_of_seeing_the_future() -> None:
    found = audited((TESTS / "cheats" / "counts_its_calls.py").read_text())
    assert found["repeatable"].verdict == "failed"
    assert found["causality"].verdict == "passed"
    assert found["causality"].evidence.endswith("; each call from the same state")


COUNTS_AND_SEES_THE_FUTURE = """
from torch import Tensor, nn

class Mixer(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.project, self.calls = nn.Linear(dim, dim), 0

    def forward(self, x_BTD: Tensor) -> Tensor:
        self.calls += 1
        return (1 + self.calls % 2) * self.project(x_BTD + x_BTD.mean(1, keepdim=True))
"""


def test_a_layer_that_counts_its_calls_and_sees_the_future_is_accused_of_both() -> None:
    found = audited(COUNTS_AND_SEES_THE_FUTURE)
    failures = [name for name, check in found.items() if check.verdict == "failed"]
    assert failures == ["repeatable", "causality", "prefix"]
    assert found["causality"].evidence.endswith("; each call from the same state")


@pytest.mark.parametrize("cheat", ["remembers_in_a_global", "counts_in_a_function"])
def test_calls_of_what_is_changed_outside_of_the_mixer_are_not_compared(cheat: str) -> None:
    found = audited((TESTS / "cheats" / f"{cheat}.py").read_text(), "repeatable", "causality")
    assert found["causality"].verdict == "not run"
    assert found["causality"].evidence == "see repeatable: it is changed by being called"


def test_what_does_not_compare_calls_is_checked_all_the_same() -> None:
    found = audited((TESTS / "cheats" / "counts_its_calls.py").read_text())
    assert found["finite"].verdict == found["sub-quadratic"].verdict == "passed"


def test_a_fault_that_follows_from_another_says_so() -> None:
    found = audited((TESTS / "cheats" / "future_mean.py").read_text(), "causality", "prefix")
    assert found["prefix"].evidence.startswith("follows from causality: the first output moves")


def test_two_faults_that_do_not_hang_on_each_other_are_told_apart() -> None:
    source = (TESTS / "cheats" / "future_mean.py").read_text()
    source = source.replace(
        "super().__init__()", "super().__init__()\n        self.idle = nn.Linear(2, 2)"
    )
    found = audited(source, "causality", "gradients")
    assert [check.verdict for check in found.values()] == ["failed", "failed"]
    assert "follows" not in found["gradients"].evidence


FLA_LAYER = """
from typing import Callable
import torch
from torch import nn

HEADS = 8
WIDTHS: Callable[[int], int] = len

class Layer(nn.Module):
    def __init__(self, hidden_size: int, num_heads: int = 4) -> None:
        super().__init__()
        self.project = nn.Linear(hidden_size, hidden_size)

    def forward(self, hidden_states, attention_mask=None, past_key_values=None, **kwargs):
        return self.project(hidden_states), None, past_key_values
"""


def test_a_global_that_is_called_like_one_of_the_adapters_is_no_change() -> None:
    found = audited(FLA_LAYER, "repeatable")["repeatable"]
    assert found.verdict == "passed", found.evidence


def test_an_attribute_that_is_called_like_one_of_the_adapters_is_looked_at() -> None:
    source = COUNTS_AND_SEES_THE_FUTURE.replace("self.calls", "self.drops_of_the_graph")
    found = audited(source.replace("(1 + self.drops_of_the_graph % 2) * ", ""), "repeatable")
    assert found["repeatable"].evidence == "drops_of_the_graph changes at every call"


def test_two_classes_of_one_name_are_not_taken_for_each_other() -> None:
    source = """
from torch import Tensor, nn

def gate(size):
    class Gate(nn.Linear):
        width = size
    return Gate(size, size)

class Mixer(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.inner, self.outer = gate(dim), gate(2 * dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.inner(x_BTD) + self.outer(x_BTD.repeat(1, 1, 2))[..., ::2]
"""
    found = audited(source, "repeatable")["repeatable"]
    assert found.verdict == "passed", found.evidence


# ---------------------------------------------------------------- what is offered, and how


NO_DECODING = """
    def initial_state(self, batch):
        raise NotImplementedError("no decoding")

    def step(self, x_BD, state):
        raise NotImplementedError("no decoding")
"""


@pytest.mark.parametrize("check", ["documents", "padding", "decoding"])
def test_what_raises_not_implemented_is_not_offered(check: str) -> None:
    source = (TESTS / "honest" / "offers_no_documents_yet.py").read_text() + NO_DECODING
    result = audited(source, check)[check]
    assert result.verdict == "not offered"
    assert result.evidence.startswith("it raises NotImplementedError: ")


def test_a_cache_of_another_interface_is_not_tried() -> None:
    result = audited(FLA_LAYER, "decoding")["decoding"]
    assert result.verdict == "not tried"
    assert result.evidence.startswith("its forward takes past_key_values;")


def test_a_cache_of_another_interface_is_not_tried_where_calls_are_counted_either() -> None:
    source = FLA_LAYER.replace("self.project = ", "self.calls = 0; self.project = ")
    source = source.replace("return self", "self.calls += 1; return self")
    found = audited(source, "repeatable", "decoding")
    assert [check.verdict for check in found.values()] == ["failed", "not tried"]


def test_a_tensor_of_the_graph_beside_the_output_is_told() -> None:
    source = FLA_LAYER.replace(
        "), None, past_key_values", "), hidden_states.mean() * self.project.bias.sum(), None"
    )
    result = audited(source, "gradients")["gradients"]
    assert result.verdict == "passed"
    assert "; drops a tensor of the graph beside the output: a loss of its own?" in result.evidence


def test_a_parameter_that_acts_where_gates_are_saturated_only_is_told_so() -> None:
    result = CHECKS["gradients"](subject_of(TESTS / "honest" / "floors_its_gate.py"))
    assert "floor where gates are saturated only" in result.evidence


@pytest.mark.parametrize(
    ("cheat", "check"),
    [
        ("clamps_decays_of_long_chunks", "chunking"),
        ("decodes_with_a_floor", "decoding"),
        ("packs_documents_with_a_floor", "documents"),
    ],
)
def test_a_floor_is_told_with_the_biases_at_which_it_acts(cheat: str, check: str) -> None:
    result = CHECKS[check](subject_of(TESTS / "cheats" / f"{cheat}.py"))
    assert result.verdict == "failed"
    assert result.evidence.endswith(" where all biases are -10")


def test_a_floor_is_seen_where_large_inputs_saturate_a_gate_without_a_bias() -> None:
    source = """
import torch
from torch import Tensor, nn

class Mixer(nn.Module):
    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.full((dim,), 0.1))

    def forward(self, x_BTD: Tensor, documents_BT: Tensor | None = None) -> Tensor:
        least = 0.0 if documents_BT is None else 1e-4
        gate_BTD = (x_BTD * self.rate.tanh()).sigmoid()
        return x_BTD * gate_BTD.clamp(min=least)
"""
    program = load_program(source)
    result = CHECKS["documents"](Subject(program.make, 32, 2))
    assert result.evidence.endswith(" for inputs scaled by 30"), result.evidence


def test_a_copy_that_training_prevents_is_told_with_when_it_fails() -> None:
    subject = subject_of(TESTS / "cheats" / "keeps_its_graph_until_it_is_used.py")
    evidence = CHECKS["restorable"](subject).evidence
    assert evidence.startswith("deep copy after a training step raises RuntimeError")


def test_a_state_in_half_precision_is_told_with_both_errors() -> None:
    file = TESTS / "cheats" / "decodes_in_the_precision_of_its_weights.py"
    evidence = CHECKS["decoding"](subject_of(file, "full")).evidence
    assert re.search(r"the error is [\d.]+% token by token and [\d.]+% all at once", evidence)
