"""Agents outside: what they are told, what becomes of their programs, several of them at once."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from move37.agents import Words, next_task, read_program, renew_report, submit
from move37.loop import Plan, discover
from move37.presets import CHECKS, SMOKE, Preset
from move37.records import Crashed, InputError, Measured, Record, Rejected, RunFailed
from move37.research.composer import Composer
from move37.store.store import Store
from move37.web.report import write_report
from tests.fakes import FakeLab, preset
from tests.test_cli import HONEST, move37, program

BASELINES = len(SMOKE.baselines)
PRESET = preset(ruler=None)
WORDS = Words("It may help.")


def source(what: object = 1) -> str:
    return f"class Mine:\n    value = {what!r}\n"


def answer(body: str) -> str:
    return f"Name: Theirs\nMotivation: Because.\nKnowledge: [nothing]\n\n{body}"


MIXER = program("Mine")
PARENT_EDIT = """<<<<<<< SEARCH
        return self.project(x_BTD)
=======
        return 2 * self.project(x_BTD)
>>>>>>> REPLACE"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def kept(path: Path) -> list[Record]:
    with Store.open(path, write=False) as store:
        return store.records()


def numbers(path: Path) -> list[int]:
    return list(dict.fromkeys(record.experiment for record in kept(path)))


def fill(path: Path, proposals: int, *, seed: int = 0, of: Preset = PRESET) -> None:
    """A run of so many proposals, measured by hash."""
    plan = Plan(of, BASELINES + proposals, seed)
    with Store.open(path, create=True) as store:
        store.keep_settings(plan.settings)
        for _ in discover(plan, Composer(), FakeLab(), store):
            pass


# ---------------------------------------------------------------- reading


def test_a_python_file_is_the_program_as_it_is() -> None:
    text = "# mine\n" + MIXER
    read = read_program(text, Words("Why not.", agent="me"))
    assert (read.name, read.motivation, read.source, read.origin) == (
        "Mine",
        "Why not.",
        text,
        "me",
    )


def test_an_answer_in_markdown_brings_its_name_and_motivation() -> None:
    read = read_program(answer(f"```python\n{MIXER}```\n"), Words())
    assert (read.name, read.motivation) == ("Theirs", "Because.")
    assert read.source.strip() == MIXER.strip()


def test_the_words_beside_an_answer_come_first() -> None:
    read = read_program(answer(f"```python\n{MIXER}```\n"), Words("Mine.", "My name"))
    assert (read.name, read.motivation) == ("My name", "Mine.")


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        ("", WORDS, "no program can be read: Expected a program, got an empty answer"),
        ("It is a fine idea.", WORDS, "no program can be read: Expected a program, found prose"),
        ("\nclass A(:\n    pass\n", WORDS, "the program does not parse: line 2: invalid syntax"),
        (source(), Words(), "expected a `motivation`"),
        (source(), Words("x", "two\nlines"), "expected a name in one line of at most 80"),
        (source(), Words("x", agent="baseline"), "none of baseline, composer, imported; got"),
        (source(), Words("x", agent=" "), "expected the agent's name in one line"),
        (source() + "# \ud800", WORDS, "the program holds half a character"),
        (source("x" * 300_000), WORDS, "the program has more than 200,000 bytes"),
        (answer(PARENT_EDIT), Words(), "no program can be read"),
    ],
)
def test_what_cannot_be_read_is_said_and_nothing_is_recorded(
    path: Path, text: str, words: Words, told: str
) -> None:
    lab = FakeLab()
    with pytest.raises(InputError, match=told):
        submit(PRESET, path, text, words, lab)
    assert (path.exists(), lab.assignments) == (False, [])


# ---------------------------------------------------------------- briefs


def test_the_brief_of_no_store_is_cold_and_makes_none(path: Path) -> None:
    task = next_task(PRESET, path)
    assert (task.experiment, task.parent, task.baselines_due) == (BASELINES, None, BASELINES)
    assert "5 baselines are not measured yet: they come first" in task.brief
    assert "there is no parent yet" in task.brief
    assert not path.exists()


def test_a_brief_names_the_next_experiment_and_its_parent(path: Path) -> None:
    fill(path, 4)
    task = next_task(PRESET, path)
    assert task.experiment == BASELINES + 4
    (parent, *_) = [r for r in kept(path) if r.candidate.id == task.parent]
    assert f"--parent {task.parent}" in task.brief
    assert parent.candidate.proposal.source.strip() in task.brief


def test_a_brief_knows_the_last_experiment(path: Path) -> None:
    fill(path, 2)
    done = submit(PRESET, path, source(), WORDS, FakeLab())
    assert done.lesson.text in next_task(PRESET, path).brief


def test_another_seed_draws_another_parent(path: Path) -> None:
    fill(path, 6)
    assert len({next_task(PRESET, path, seed=seed).parent for seed in range(8)}) > 1


def test_a_brief_holds_no_path_of_the_machine(path: Path) -> None:
    fill(path, 4)
    text = next_task(PRESET, path).brief
    assert str(path.parent) not in text
    assert str(Path(__file__).parents[1]) not in text


def test_a_brief_tells_what_others_are_measuring(path: Path) -> None:
    fill(path, 2)
    with Store.open(path) as other:
        other.share()
        with other.claim("theirs", "Theirs"):
            task = next_task(PRESET, path)
    assert task.measuring == ("Theirs",)
    assert task.experiment == BASELINES + 3
    assert "Others are measuring Theirs" in task.brief


# ---------------------------------------------------------------- one program


def test_the_first_submit_measures_the_baselines_and_the_next_does_not(path: Path) -> None:
    first, second = FakeLab(), FakeLab()
    done = submit(PRESET, path, source(1), WORDS, first)
    assert done.records[0].experiment == BASELINES
    assert isinstance(done.records[0].outcome, Measured)
    submit(PRESET, path, source(2), WORDS, second)
    assert numbers(path) == list(range(BASELINES + 2))
    assert {one.source for one in second.assignments} == {source(2)}


def test_a_program_gets_the_checks_seeds_and_lesson_of_a_run(path: Path) -> None:
    lab = FakeLab()
    done = submit(PRESET, path, source(), WORDS, lab)
    mine = [one for one in lab.assignments if one.source == source()]
    assert mine[0].seeds == PRESET.seeds[:1]
    assert mine[0].checks == CHECKS
    with Store.open(path) as store:
        assert store.lessons()[-1] == done.lesson
    assert done.lesson.experiment == BASELINES


@pytest.mark.parametrize(
    ("text", "outcome"),
    [(source("FAIL"), Rejected("causality", "it leaks")), (source("CRASH"), Crashed("load", "no"))],
)
def test_what_is_refused_or_crashes_is_kept_after_one_attempt(
    path: Path, text: str, outcome: Rejected | Crashed
) -> None:
    done = submit(PRESET, path, text, WORDS, FakeLab())
    assert not done.measured
    assert [type(record.outcome) for record in done.records] == [type(outcome)]
    assert kept(path)[-1] == done.records[-1]


def test_a_program_that_is_known_is_refused_and_kept(path: Path) -> None:
    submit(PRESET, path, source(), WORDS, FakeLab())
    lab = FakeLab()
    done = submit(PRESET, path, source() + "# again\n", WORDS, lab)
    assert done.records[0].outcome == Rejected(
        "novelty", "the same program as Mine of experiment 5"
    )
    assert lab.assignments == []


def test_a_program_descends_from_the_parent_that_is_named(path: Path) -> None:
    first = submit(PRESET, path, MIXER, WORDS, FakeLab())
    edits = answer(PARENT_EDIT)
    done = submit(PRESET, path, edits, Words(parent="Mine", agent="a"), FakeLab())
    assert done.records[0].parents == (first.records[0].candidate.id,)
    assert "2 * self.project" in done.records[0].candidate.proposal.source


def test_a_parent_that_is_not_there_is_said_and_nothing_is_recorded(path: Path) -> None:
    submit(PRESET, path, source(), WORDS, FakeLab())
    with pytest.raises(InputError, match="no experiment 'nobody'"):
        submit(PRESET, path, source(2), Words("x", parent="nobody"), FakeLab())
    assert numbers(path) == list(range(BASELINES + 1))


def test_a_submit_works_with_the_settings_of_the_store(path: Path) -> None:
    fill(path, 2, seed=7)
    submit(PRESET, path, source(), WORDS, FakeLab())
    with pytest.raises(InputError, match=r"was started with preset 'smoke'.* use another store"):
        submit(preset(name="other"), path, source(2), WORDS, FakeLab())


def test_a_run_goes_on_behind_what_was_submitted(path: Path) -> None:
    submit(PRESET, path, source(), WORDS, FakeLab())
    fill(path, 3)
    assert numbers(path) == list(range(BASELINES + 3))
    assert {r.candidate.proposal.origin for r in kept(path) if r.experiment == BASELINES} == {
        "agent"
    }


class _Broken(FakeLab):
    """Examines baselines only."""

    def examine(self, assignment: Any, progress: Any = lambda stage: None) -> Any:
        if "class Mine" in assignment.source:
            raise RunFailed("the disk is full")
        return super().examine(assignment, progress)


def test_a_submit_that_fails_leaves_the_program_free(path: Path) -> None:
    with pytest.raises(RunFailed):
        submit(PRESET, path, source(), WORDS, _Broken())
    assert numbers(path) == list(range(BASELINES))
    assert submit(PRESET, path, source(), WORDS, FakeLab()).measured


def test_the_report_is_renewed_from_all_that_the_store_holds(path: Path) -> None:
    fill(path, 2)
    submit(PRESET, path, source(), WORDS, FakeLab())
    report = renew_report(PRESET, path)
    assert report == path.parent / "report.html"
    assert "Newest experiment</dt><dd>7;" in report.read_text()


def test_a_report_is_of_the_last_experiment_though_another_is_kept_while_it_is_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, 0)
    later = [source(2)]

    def write_slowly(*arguments: Any, **options: Any) -> Path:
        if later:  # somebody else submits meanwhile
            submit(PRESET, path, later.pop(), WORDS, FakeLab())
        return write_report(*arguments, **options)

    monkeypatch.setattr("move37.agents.write_report", write_slowly)
    report = renew_report(PRESET, path)
    assert f"Newest experiment</dt><dd>{BASELINES};" in report.read_text()


# ---------------------------------------------------------------- several at once

AGENTS, EACH = 4, 5


def _work(path: Path, agent: int, sources: list[str], queue: Any) -> None:
    lab = FakeLab(jitter=0.01)
    for text in sources:
        try:
            done = submit(PRESET, path, text, Words("x", agent=f"agent-{agent}"), lab)
            queue.put(("kept", done.records[0].experiment, text))
        except InputError as error:
            queue.put(("refused", str(error), text))
    queue.put(("lab", [one.source for one in lab.assignments], ""))


def at_once(path: Path, sources: list[list[str]]) -> list[tuple[str, Any, str]]:
    """Lets a process for each list submit its programs; returns what they say."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [
        context.Process(target=_work, args=(path, n, mine, queue)) for n, mine in enumerate(sources)
    ]
    for worker in workers:
        worker.start()
    told = [queue.get(timeout=120) for _ in range(sum(len(mine) + 1 for mine in sources))]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * len(workers)
    return told


def test_with_several_agents_nothing_is_lost_and_nothing_doubled(path: Path) -> None:
    sources = [[source((n, k)) for k in range(EACH)] for n in range(AGENTS)]
    told = at_once(path, sources)
    assert numbers(path) == list(range(BASELINES + AGENTS * EACH))
    mine = {r.candidate.proposal.source: r.experiment for r in kept(path)}
    said = {text: number for what, number, text in told if what == "kept"}
    assert said == {text: mine[text] for one in sources for text in one}
    with Store.open(path) as store:
        assert [lesson.experiment for lesson in store.lessons()] == numbers(path)
    examined = [text for what, texts, _ in told if what == "lab" for text in texts]
    baselines = [text for text in examined if "class Mine" not in text]
    assert len(baselines) == len(set(baselines)) == BASELINES


def test_a_program_that_several_submit_at_once_is_examined_once(path: Path) -> None:
    fill(path, 2)
    told = at_once(path, [[source()]] * AGENTS)
    examined = [text for what, texts, _ in told if what == "lab" for text in texts]
    first = [r for r in kept(path) if r.candidate.proposal.source == source()]
    assert sum(isinstance(record.outcome, Measured) for record in first) == len(examined)
    assert len({r.experiment for r in first if isinstance(r.outcome, Measured)}) == 1
    refused = [text for what, text, _ in told if what == "refused"]
    assert all("the same program is being measured now" in text for text in refused)


def test_a_run_and_a_submit_keep_out_of_each_others_way(path: Path) -> None:
    fill(path, 2)
    before = numbers(path)
    with Store.open(path) as run:
        run.lock()
        with pytest.raises(InputError, match=r"a run is using .* use another store"):
            submit(PRESET, path, source(), WORDS, FakeLab())
    assert numbers(path) == before


# ---------------------------------------------------------------- the commands


def test_brief_prints_markdown_and_as_json_its_experiment(tmp_path: Path) -> None:
    there = ("--preset", "smoke", "--store", str(tmp_path / "none.sqlite"))
    assert "# What the program has to be" in move37("brief", *there).stdout
    assert '"baselines_due": 5' in move37("brief", *there, "--json").stdout


def test_submit_of_no_program_is_exit_status_2(tmp_path: Path) -> None:
    file, there = tmp_path / "a.md", ("--store", str(tmp_path / "none.sqlite"))
    file.write_text("A fine idea.")
    done = move37("submit", str(file), *there)
    assert done.returncode == 2
    assert "no program can be read" in done.stderr
    assert move37("submit", "nowhere.py", *there).returncode == 2
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.slow
def test_submit_takes_a_program_through_the_lab_and_shows_it(path: Path) -> None:
    fill(path, 0, of=SMOKE)
    there = ("--preset", "smoke", "--store", str(path))
    done = move37("submit", str(HONEST), "--motivation", "It shifts.", "--agent", "me", *there)
    assert done.returncode == 0, done.stderr
    for part in ("experiment 5", "by me", "It shifts.", "Lesson", "Program", "class "):
        assert part in done.stdout
    report = path.parent / "report.html"
    assert done.stderr.splitlines() == ["measuring ShiftsTokens", f"report {report}"]
    assert "ShiftsTokens" in report.read_text()
    again = move37("submit", str(HONEST), "--motivation", "It shifts.", *there)
    assert again.returncode == 1
    assert "the same program as" in again.stdout
