"""What the page promises, whatever the run was."""

import base64
import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from move37.records import (
    Candidate,
    CheckResult,
    Crashed,
    Lesson,
    Measured,
    Outcome,
    Proposal,
    Record,
    RunFailed,
)
from move37.search.fitness import Form
from move37.web import report
from tests.web import builders

HOSTILE = "</pre></title><script>alert(1)</script><img src=x onerror=alert(1)> \" ' & <b>"
VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """A parsed page: its elements in order, and whether every element is closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.unclosed: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.unclosed.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.unclosed.pop() == tag, f"</{tag}> at {self.getpos()} closes another element"

    def handle_data(self, data: str) -> None:
        if not self.unclosed or self.unclosed[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def shown(self) -> str:
        """The text that a reader sees, with single spaces."""
        return " ".join(" ".join(self.words).split())

    def attributes(self, name: str) -> list[str]:
        """All values of an attribute."""
        return [attrs[name] or "" for _, attrs in self.elements if name in attrs]


def page(
    folder: Path,
    records: list[Record],
    lessons: list[Lesson] | None = None,
    *,
    title: str = "A run",
    form: Form = "noise",
) -> Page:
    """Writes the report and reads it back."""
    path = report.write_report(
        folder, records=records, lessons=lessons or [], title=title, form=form
    )
    return Page(path.read_text(encoding="utf-8"))


def experiment(text: str, number: int) -> str:
    """Returns the part of a page that tells of one experiment."""
    start = text.index(f'id="experiment-{number}"')
    end = text.find('<details class="experiment"', start)
    return text[start : end if end > 0 else None]


RUNS = {
    "nothing yet": ([], []),
    "baselines only": (builders.baselines(), []),
    "no baseline": ([builders.run(20)[0][-1]], []),
    "twenty candidates": builders.run(20),
    "a long run": builders.run(120),
    "a long run without a baseline": ([r for r in builders.run(120)[0] if r.experiment > 4], []),
}
every_run = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())

# ---------------------------------------------------------------- one safe file


def test_the_report_is_one_file_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = report.write_report(tmp_path, records=builders.baselines(), lessons=[], title="A run")
    assert list(tmp_path.iterdir()) == [path]
    assert path.name == "report.html"


def test_a_failed_write_leaves_the_earlier_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = report.write_report(tmp_path, records=[], lessons=[], title="Before")

    def full(*_: object) -> int:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunFailed, match=r"no space.*in the store"):
        report.write_report(tmp_path, records=builders.baselines(), lessons=[], title="After")
    assert "Before" in path.read_text()
    assert list(tmp_path.iterdir()) == [path]


def test_writing_the_report_never_imports_torch() -> None:
    code = "import sys, move37.web.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@every_run
def test_the_page_names_no_other_host(
    run: tuple[list[Record], list[Lesson]], tmp_path: Path
) -> None:
    made = page(tmp_path, *run)
    assert "//" not in re.sub(r"(^|\s)// ", "", made.text)  # comments of the script
    for attribute in ("href", "src", "srcset", "action", "data"):
        assert all(value.startswith(("#", "data:,")) for value in made.attributes(attribute))
    assert "url(" not in made.text
    assert "@import" not in made.text


@every_run
def test_every_element_is_closed_in_turn(
    run: tuple[list[Record], list[Lesson]], tmp_path: Path
) -> None:
    assert page(tmp_path, *run).unclosed == []


@every_run
def test_every_link_leads_to_one_place_of_the_page(
    run: tuple[list[Record], list[Lesson]], tmp_path: Path
) -> None:
    made = page(tmp_path, *run)
    ids = made.attributes("id")
    assert len(ids) == len(set(ids))
    links = [href[1:] for href in made.attributes("href") if href.startswith("#")]
    assert set(links) <= set(ids)
    numbers = {record.experiment for record in run[0]}
    assert {f"experiment-{number}" for number in numbers} <= set(ids)


@pytest.mark.parametrize(
    "proposal",
    [
        builders.proposal("Plain", 9, motivation=HOSTILE),
        builders.proposal("Plain", 9, origin=HOSTILE),
        builders.proposal("Plain", 9, draft=f"# {HOSTILE}"),
        replace(builders.proposal("Plain", 9), name=HOSTILE),
        replace(builders.proposal("Plain", 9), components=(HOSTILE,)),
        replace(builders.proposal("Plain", 9), knowledge=(HOSTILE,)),
    ],
    ids=["motivation", "origin", "program", "name", "components", "knowledge"],
)
def test_a_proposal_with_markup_is_shown_as_text(proposal: Proposal, tmp_path: Path) -> None:
    made = page(
        tmp_path,
        [
            *builders.baselines(),
            builders.record(9, proposal, builders.measured((2.9, 0.6, 0.8), name="Plain")),
        ],
    )
    assert sum(tag == "script" for tag, _ in made.elements) == 1
    assert not any("onerror" in attrs or tag == "img" for tag, attrs in made.elements)
    assert " ".join(HOSTILE.split()) in made.shown
    assert made.unclosed == []


@pytest.mark.parametrize("outcome", [builders.REJECTED, Crashed("load", HOSTILE)])
def test_evidence_title_and_lesson_with_markup_are_shown_as_text(
    outcome: Outcome, tmp_path: Path
) -> None:
    record = builders.record(0, builders.proposal("Plain", 0), outcome)
    lesson = Lesson(0, record.candidate.id, HOSTILE, HOSTILE, (HOSTILE,), (HOSTILE,))
    made = page(tmp_path, [record], [lesson], title=HOSTILE)
    assert sum(tag == "script" for tag, _ in made.elements) == 1
    assert not any("onerror" in attrs for _, attrs in made.elements)


def test_the_content_policy_lets_only_the_script_of_the_page_run(tmp_path: Path) -> None:
    text = page(tmp_path, builders.baselines()).text
    script = text[text.index("<script>") + 8 : text.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert f"script-src 'sha256-{digest}'" in policy[1]


def test_a_lone_surrogate_does_not_stop_the_page(tmp_path: Path) -> None:
    proposal = builders.proposal("Odd", 0, motivation="half a pair: \ud83d")
    made = page(tmp_path, [builders.record(0, proposal, builders.REJECTED)])
    assert "half a pair: ?" in made.shown


# ---------------------------------------------------------------- what it says


@every_run
def test_the_page_claims_no_discovery(
    run: tuple[list[Record], list[Lesson]], tmp_path: Path
) -> None:
    assert "Nothing on this page is a confirmed discovery." in page(tmp_path, *run).shown


@pytest.mark.parametrize(("preset", "said"), [("smoke", True), ("laptop", False)])
def test_of_a_smoke_run_the_page_says_that_its_numbers_mean_nothing(
    preset: str, said: bool, tmp_path: Path
) -> None:
    records, lessons = builders.run(8)
    records = [replace(one, provenance=replace(one.provenance, preset=preset)) for one in records]
    told = "its trainings are too short for its numbers to mean anything"
    assert (told in page(tmp_path, records, lessons).shown) == said


@pytest.mark.parametrize(("preset", "said"), [("laptop", True), ("smoke", False)])
def test_of_seeds_that_were_chosen_the_page_says_so(
    preset: str, said: bool, tmp_path: Path
) -> None:
    records, lessons = builders.run(8)
    records = [replace(one, provenance=replace(one.provenance, preset=preset)) for one in records]
    shown = page(tmp_path, records, lessons).shown
    assert ("Seeds 18 and 27 were chosen, of some that were tried" in shown) == said


def test_the_page_says_of_which_experiment_it_is(tmp_path: Path) -> None:
    records, lessons = builders.run(8)
    assert "Newest experiment 12; what came later" in page(tmp_path, records, lessons).shown


def lesson_of(record: Record) -> Lesson:
    return Lesson(record.experiment, record.candidate.id, "It is so.", "x", ("recall",), ("state",))


def test_a_mixer_without_a_parent_is_compared_with_the_reference(tmp_path: Path) -> None:
    records = builders.baselines()
    text = page(tmp_path, records, [lesson_of(records[3])]).text
    told = experiment(text, records[3].experiment)
    assert "Better than DeltaNet: recall." in told
    assert "Worse than DeltaNet: state." in told
    assert "its parent" not in told


@pytest.mark.parametrize(
    ("outcome", "compared_with"),
    [(None, "its parent"), (builders.REJECTED, "DeltaNet"), (builders.CRASHED, "DeltaNet")],
)
def test_a_mixer_is_compared_with_its_parent_only_if_that_was_measured(
    outcome: Outcome | None, compared_with: str, tmp_path: Path
) -> None:
    records, baseline = builders.baselines(), builders.baselines()[1].outcome
    parent = builders.record(5, builders.proposal("Parent", 5), outcome or baseline)
    own = (parent.candidate.id,)
    child = builders.record(6, builders.proposal("Child", 6), baseline, parents=own)
    text = page(tmp_path, [*records, parent, child], [lesson_of(child)]).text
    assert f"Better than {compared_with}: recall." in experiment(text, 6)


def test_checks_that_were_not_asked_for_are_not_said_to_be_passed(tmp_path: Path) -> None:
    checks = tuple(CheckResult(name, "passed", "fine") for name in ("interface", "causality"))
    record = builders.record(0, builders.proposal("Mine", 0), Measured(checks, ()))
    told = experiment(page(tmp_path, [record]).text, 0)
    assert "<b>Passed</b> interface, causality" in told
    assert "every check" not in told


def test_the_first_sentence_counts_every_kind_of_outcome(tmp_path: Path) -> None:
    records, lessons = builders.run(20)
    last = {record.experiment: record for record in records if record.experiment >= 5}
    kinds = [type(record.outcome).__name__ for record in last.values()]
    counted = (
        f"20 experiments with new mixers, beside 5 published baselines: "
        f"{kinds.count('Measured')} measured, {kinds.count('Rejected')} rejected by a check, "
        f"{kinds.count('Crashed')} crashed."
    )
    assert min(kinds.count(kind) for kind in ("Measured", "Rejected", "Crashed")) > 0
    assert counted in page(tmp_path, records, lessons).shown


def test_a_run_of_refused_candidates_only_still_has_a_page(tmp_path: Path) -> None:
    made = page(
        tmp_path,
        [
            builders.record(0, builders.proposal("Seer", 0), builders.REJECTED),
            builders.record(1, builders.proposal("Faller", 1), builders.CRASHED),
        ],
    )
    assert "There is no fitness yet" in made.shown
    assert "an output before t=31 moved" in made.shown


def test_baselines_alone_have_a_leaderboard(tmp_path: Path) -> None:
    made = page(tmp_path, builders.baselines())
    assert "Only baselines have been measured so far." in made.shown
    assert made.text.count('<tr class="baseline">') == 5


def test_the_reference_has_no_verdict_on_itself(tmp_path: Path) -> None:
    text = page(tmp_path, builders.baselines()).text
    assert "reference" in experiment(text, 0)
    assert "by definition" in text


def test_a_baseline_that_fails_a_check_is_marked(tmp_path: Path) -> None:
    assert "fails complexity" in page(tmp_path, builders.baselines()).shown


@pytest.mark.parametrize(("form", "level"), [("noise", "0"), ("paper", "0.5")])
def test_the_page_says_where_the_reference_stands(form: Form, level: str, tmp_path: Path) -> None:
    made = page(tmp_path, *builders.run(6), form=form)
    assert f"DeltaNet stands at {level}." in made.shown


def test_attempts_and_further_seeds_are_one_experiment(tmp_path: Path) -> None:
    draft, final = builders.proposal("Mixer", 5, draft="# draft"), builders.proposal("Mixer", 5)
    quality = (2.9, 0.6, 0.8)
    one, two = (builders.measured(quality, name="Mixer", seeds=(seed,)) for seed in (0, 1))
    made = page(
        tmp_path,
        [
            *builders.baselines(),
            builders.record(5, draft, builders.REJECTED),
            builders.record(5, final, one, step=1, seeds=(0,)),
            builders.record(5, final, two, step=2, seeds=(1,)),
        ],
    )
    told = experiment(made.text, 5)
    assert "1 experiment with new mixers" in made.shown
    assert told.count("<li>") == 3
    assert "Program of this attempt" in told
    assert made.text.count(">Mixer</a>") == 2  # the leaderboard and the sentence on the fittest


def test_a_candidate_that_is_rejected_afterwards_has_no_fitness(tmp_path: Path) -> None:
    cheat = builders.proposal("Cheat", 5)
    made = page(
        tmp_path,
        [
            *builders.baselines(),
            builders.record(5, cheat, builders.measured((2.1, 0.99, 0.99), name="Cheat")),
            builders.record(5, cheat, builders.REJECTED, step=1),
        ],
    )
    assert ": 0 measured, 1 rejected by a check, 0 crashed." in made.shown
    assert "Only baselines have been measured so far." in made.shown


def test_a_crash_is_told_with_stage_and_error(tmp_path: Path) -> None:
    made = page(tmp_path, [builders.record(0, builders.proposal("A", 0), builders.CRASHED)])
    assert builders.CRASHED.stage in made.shown
    assert builders.CRASHED.error in made.shown


def test_parents_are_links_and_unknown_parents_are_ids(tmp_path: Path) -> None:
    records = builders.baselines()
    parents = (records[1].candidate.id, "0123456789ab")
    child = builders.record(5, builders.proposal("Child", 5), builders.REJECTED, parents=parents)
    told = experiment(page(tmp_path, [*records, child]).text, 5)
    assert '<a href="#experiment-1">GatedDeltaNet</a>' in told
    assert "<code>0123456789ab</code>" in told


def test_a_candidate_named_as_its_own_parent_does_not_stop_the_page(tmp_path: Path) -> None:
    proposal = builders.proposal("Loop", 0)
    own = (Candidate.of(proposal).id,)
    made = page(tmp_path, [builders.record(0, proposal, builders.REJECTED, parents=own)])
    assert "Loop" in made.shown


def test_learning_curves_lie_over_those_of_the_reference(tmp_path: Path) -> None:
    text = page(tmp_path, builders.baselines()).text
    assert experiment(text, 1).count('class="other" points') == 6  # 3 tasks, 2 seeds
    assert experiment(text, 0).count('class="other" points') == 0
    assert experiment(text, 0).count('class="own" points') == 6


def test_a_state_that_is_not_offered_is_no_zero(tmp_path: Path) -> None:
    outcome = builders.measured((2.9, 0.6, 0.8), name="A", state_bytes=None)
    made = page(
        tmp_path, [*builders.baselines(), builders.record(5, builders.proposal("A", 5), outcome)]
    )
    assert "not offered" in experiment(made.text, 5)


def test_the_lesson_stands_with_its_experiment(tmp_path: Path) -> None:
    records, lessons = builders.run(8)
    text = page(tmp_path, records, lessons).text
    assert "weak recall of many key-value pairs" in experiment(text, lessons[0].experiment)


def test_a_long_run_is_shortened_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit, number in (("DETAILED", 12), ("LISTED", 8), ("RELATED", 10), ("GROUP", 20)):
        monkeypatch.setattr(report, limit, number)
    records, lessons = builders.run(60)
    made = page(tmp_path, records, lessons)
    assert "of 65 experiments are drawn" in made.shown
    assert "Tables and curves are kept to" in made.shown
    assert "and every baseline:" in made.shown
    assert made.text.count('<details class="group">') == 4
    assert made.text.count("<h4>Program</h4>") == 65
    assert made.text.count("<h4>Measurements</h4>") < 30


# ---------------------------------------------------------------- words and numbers


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (16_896, "B", "16.9 kB"),
        (999.6, "B", "1.00 kB"),
        (999_600, "B", "1.00 MB"),
        (20_000, "B", "20.0 kB"),
        (131_072, "", "131 k"),
        (512, "B", "512 B"),
        (0, "B", "0 B"),
        (None, "B", "not offered"),
    ],
)
def test_a_quantity_has_three_digits_and_a_prefix(
    value: float | None, unit: str, told: str
) -> None:
    assert report.quantity(value, unit).replace("\N{NO-BREAK SPACE}", " ") == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.04, "0.0 s"), (47.3, "47 s"), (60, "1 min"), (125, "2 min 5 s"), (90_000, "1 d 1 h")],
)
def test_a_duration_has_its_two_largest_units(seconds: float, told: str) -> None:
    assert report.duration(seconds) == told


def test_a_share_is_in_percent_and_a_loss_is_not() -> None:
    assert report.score(0.6214, "accuracy") == "62.1\N{NO-BREAK SPACE}%"
    assert report.score(2.9116, "bits per byte") == "2.912"


@pytest.mark.parametrize(
    ("name", "short"), [("GatedDeltaNet", "GDN"), ("Mamba2", "M2"), ("softmax", "sof")]
)
def test_an_acronym_is_what_the_field_would_write(name: str, short: str) -> None:
    assert report.acronym(name) == short
