"""What was recorded is replayed, and nothing else."""

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from move37.loop import Plan, discover
from move37.records import Assignment, InputError, Outcome, RunFailed
from move37.research.cassette import Player, Recorder, silent
from move37.research.chooser import Payoff
from move37.research.ledger import BudgetSpent
from move37.research.models import (
    LanguageModels,
    ModelSpec,
    ProviderFailed,
    Reply,
    TooLong,
    parse_model,
)
from move37.research.team import Team
from tests.fakes import FakeLab, Memory, preset
from tests.research.play import SIZE, Kept, proposed

KEY = "sk-SECRET-0123456789"
SPEC = parse_model("openai:gpt-5")
OTHER = parse_model("openai:gpt-6")


def reply(text: str) -> Reply:
    return Reply(text, True, 20, 10, 1.25, 0.1, SPEC.name)


class Scripted:
    """Answers with what it is given, in order."""

    def __init__(self, answers: Sequence[Reply | Exception]) -> None:
        self.answers = list(answers)

    def ask(self, *_: object, **__: object) -> Reply:
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def scrub(text: str) -> str:
    return text.replace(KEY, "***")


def ask(
    models: LanguageModels, prompt: str = "one\ntwo", spec: ModelSpec = SPEC, experiment: int = 3
) -> Reply:
    return models.ask(
        spec, "be brief", prompt, role="judge", max_output_tokens=9, experiment=experiment
    )


def recorded(path: Path, *answers: Reply | Exception, prompts: Sequence[str] = ()) -> Path:
    with Recorder(Scripted(answers), path, scrub) as recorder:
        for prompt in prompts or ["one\ntwo"] * len(answers):
            with contextlib.suppress(RunFailed):
                ask(recorder, prompt)
    return path


def test_a_replay_equals_the_record(tmp_path: Path) -> None:
    answers = [reply("a"), reply("b\n\u2028ü\ud800")]
    path = recorded(tmp_path / "tape", *answers, prompts=["x", "y"])
    player = Player(path)
    assert [ask(player, "y"), ask(player, "x")] == answers[::-1]


def test_the_same_request_has_its_answers_in_their_order(tmp_path: Path) -> None:
    player = Player(recorded(tmp_path / "tape", reply("a"), reply("b")))
    assert [ask(player).text, ask(player).text] == ["a", "b"]


def test_a_request_that_was_too_long_is_too_long_again(tmp_path: Path) -> None:
    player = Player(recorded(tmp_path / "tape", TooLong("over 8192", 8192)))
    with pytest.raises(TooLong, match="over 8192") as caught:
        ask(player)
    assert caught.value.limit_tokens == 8192


@pytest.mark.parametrize("error", [ProviderFailed("503"), BudgetSpent("$0"), RunFailed("no")])
def test_a_failure_is_the_same_failure_again(tmp_path: Path, error: RunFailed) -> None:
    player = Player(recorded(tmp_path / "tape", error))
    with pytest.raises(RunFailed) as caught:
        ask(player)
    assert (type(caught.value), str(caught.value)) == (type(error), str(error))


def test_a_request_has_the_answer_of_its_own_experiment(tmp_path: Path) -> None:
    with Recorder(Scripted([reply("of 6"), reply("of 5")]), tmp_path / "tape", scrub) as recorder:
        for experiment in (6, 5):
            ask(recorder, experiment=experiment)
    player = Player(tmp_path / "tape")
    assert [ask(player, experiment=number).text for number in (5, 6)] == ["of 5", "of 6"]


def test_a_request_of_an_experiment_that_was_not_recorded_says_so(tmp_path: Path) -> None:
    player = Player(recorded(tmp_path / "tape", reply("a")))
    with pytest.raises(InputError, match="has 'experiment 3' where 'experiment 2' is asked"):
        ask(player, experiment=2)


def test_a_cassette_of_a_shorter_run_says_how_far_it_goes_and_how_to_go_on(tmp_path: Path) -> None:
    player = Player(recorded(tmp_path / "tape", reply("a")))
    with pytest.raises(InputError) as caught:
        ask(player, experiment=4)
    assert str(caught.value) == (
        f"{tmp_path / 'tape'}: expected requests about experiments up to 3, as recorded, got one "
        "of 'judge' to openai:gpt-5 about experiment 4: replay with fewer --experiments, or give "
        "--record in place of --replay, which asks the models and goes on"
    )


def test_a_cassette_without_experiments_is_played_in_order(tmp_path: Path) -> None:
    path = recorded(tmp_path / "tape", reply("a"), reply("b"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = ("type", "request", "asked", "answer")  # as it was written before there were any
    path.write_text("".join(json.dumps({key: one[key] for key in kept}) + "\n" for one in lines))
    player = Player(path)
    assert [ask(player, experiment=number).text for number in (5, 6)] == ["a", "b"]


def test_a_request_that_was_not_recorded_is_told_with_the_first_line_that_differs(
    tmp_path: Path,
) -> None:
    prompts = ["something\nelse", "one\ntwo\nthree"]
    player = Player(recorded(tmp_path / "tape", reply("a"), reply("b"), prompts=prompts))
    with pytest.raises(InputError, match="has 'prompt: two' where 'prompt: 2' is asked"):
        ask(player, "one\n2\nthree")


def test_a_longer_request_differs_where_the_recorded_one_ends(tmp_path: Path) -> None:
    player = Player(recorded(tmp_path / "tape", reply("a")))
    with pytest.raises(InputError, match=r"has '\(end\)' where 'prompt: three' is asked"):
        ask(player, "one\ntwo\nthree")


def test_another_model_is_another_request(tmp_path: Path) -> None:
    player = Player(recorded(tmp_path / "tape", reply("a")))
    with pytest.raises(InputError, match="has 'model: openai:gpt-5' where 'model: openai:gpt-6'"):
        ask(player, spec=OTHER)


def test_a_request_is_answered_as_often_as_it_was_recorded(tmp_path: Path) -> None:
    player = Player(recorded(tmp_path / "tape", reply("a")))
    ask(player)
    with pytest.raises(InputError, match=r"this request 1 time, as recorded, got .* once more"):
        ask(player)


def test_an_empty_cassette_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got an empty one: record a run with --record"):
        ask(Player(recorded(tmp_path / "tape")))


def test_a_recorder_goes_on_behind_what_is_there(tmp_path: Path) -> None:
    recorded(tmp_path / "tape", reply("a"), prompts=["x"])
    player = Player(recorded(tmp_path / "tape", reply("b"), prompts=["y"]))
    assert [ask(player, "x").text, ask(player, "y").text] == ["a", "b"]


def test_what_is_asked_again_after_a_kill_has_the_later_answers(tmp_path: Path) -> None:
    recorded(tmp_path / "tape", reply("a"), reply("b"))
    player = Player(recorded(tmp_path / "tape", reply("c"), reply("d")))
    assert [ask(player).text, ask(player).text] == ["c", "d"]


def test_a_recorder_refuses_a_file_that_is_no_cassette(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine\n")
    with pytest.raises(InputError, match="line 1: expected an exchange"):
        Recorder(Scripted([]), tmp_path / "notes", scrub)
    assert (tmp_path / "notes").read_text() == "mine\n"


def test_a_recorder_refuses_the_cassette_of_a_run_that_went_further(tmp_path: Path) -> None:
    with Recorder(Scripted([reply("of 6")]), tmp_path / "tape", scrub) as recorder:
        ask(recorder, experiment=6)
    with pytest.raises(InputError, match="is the cassette of another run"):
        Recorder(Scripted([]), tmp_path / "tape", scrub, started=6)
    with Recorder(Scripted([]), tmp_path / "tape", scrub, started=7):
        pass


def test_a_line_that_was_cut_is_taken_away(tmp_path: Path) -> None:
    path = recorded(tmp_path / "tape", reply("a"), reply("b"), prompts=["x", "y"])
    path.write_bytes(path.read_bytes()[:-20])
    player = Player(recorded(path, reply("c"), prompts=["y"]))
    assert [ask(player, "x").text, ask(player, "y").text] == ["a", "c"]


def test_a_key_is_not_on_the_cassette(tmp_path: Path) -> None:
    failures = TooLong(KEY, None), ProviderFailed(KEY)
    prompts = [f"a {KEY}", KEY, KEY]
    path = recorded(tmp_path / "tape", reply(f"say {KEY}"), *failures, prompts=prompts)
    assert "SECRET" not in path.read_text()


def test_a_request_that_held_a_key_is_replayed_all_the_same(tmp_path: Path) -> None:
    path = recorded(tmp_path / "tape", reply("fine"), prompts=[f"a {KEY}"])
    assert ask(Player(path), f"a {KEY}").text == "fine"


@pytest.mark.parametrize("text", ["{}\n", "no JSON\n"])
def test_a_file_that_is_no_cassette_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tape"
    path.write_text(text)
    with pytest.raises(InputError, match="line 1: expected an exchange"):
        Player(path)


def test_a_missing_cassette_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a cassette"):
        Player(tmp_path / "none")


# ---------------------------------------------------------------- choices


def test_the_model_that_was_chosen_is_chosen_again(tmp_path: Path) -> None:
    with Recorder(Scripted([]), tmp_path / "tape", scrub) as recorder:
        recorder.choose("judge", "0/7/0", lambda: OTHER)
    player = Player(tmp_path / "tape")
    assert player.choose("judge", "0/7/0", lambda: SPEC, [SPEC, OTHER]) == OTHER


def test_a_model_is_drawn_where_no_choice_was_recorded(tmp_path: Path) -> None:
    player = Player(recorded(tmp_path / "tape"))
    assert player.choose("judge", "0/7/0", lambda: SPEC, [SPEC, OTHER]) == SPEC


def test_a_model_that_was_chosen_and_is_not_there_is_told(tmp_path: Path) -> None:
    with Recorder(Scripted([]), tmp_path / "tape", scrub) as recorder:
        recorder.choose("judge", "0/7/0", lambda: OTHER)
    with pytest.raises(InputError, match="expected openai:gpt-6 among the models"):
        Player(tmp_path / "tape").choose("judge", "0/7/0", lambda: SPEC, [SPEC])


def test_models_that_play_other_roles_than_were_recorded_are_told_before_they_are_asked(
    tmp_path: Path,
) -> None:
    with Recorder(Scripted([]), tmp_path / "tape", scrub) as recorder:
        recorder.choose("judge", "0/7/0", lambda: OTHER)
    player = Player(tmp_path / "tape")
    player.check([SPEC, OTHER])
    with pytest.raises(InputError, match="expected openai:gpt-6 among the models"):
        player.check([SPEC, replace(OTHER, roles=("analyst",))])


def test_that_a_model_was_not_asked_any_more_is_recorded(tmp_path: Path) -> None:
    with (
        pytest.raises(RunFailed, match="three times"),
        Recorder(Scripted([]), tmp_path / "tape", scrub) as recorder,
    ):
        ask(silent(recorder, "it failed three times"))
    with pytest.raises(RunFailed, match="three times"):
        ask(Player(tmp_path / "tape"))


def test_a_player_answers_where_a_model_was_asked_all_the_same(tmp_path: Path) -> None:
    player = Player(recorded(tmp_path / "tape", reply("a")))
    assert ask(silent(player, "it failed three times")).text == "a"


# ---------------------------------------------------------------- whole runs

BASELINES = len(preset().baselines)
ROLES = "researcher+engineer+judge+analyst"
USEFUL = {
    "analyst": '{"text": "It scales."}',
    "judge": '{"innovation": 1, "complexity": 9, "correctness": 10}',
}


class Counting:
    """Answers each request to write a program with another one."""

    def __init__(
        self,
        *,
        slow: int | None = None,  # experiment
        down: Callable[[str, int | None], bool] = lambda role, experiment: False,
    ) -> None:
        self._numbers, self._slow, self._down = itertools.count(1), slow, down

    def ask(
        self,
        spec: ModelSpec,
        system: str,  # noqa: ARG002
        prompt: str,  # noqa: ARG002
        *,
        role: str,
        max_output_tokens: int,  # noqa: ARG002
        experiment: int | None = None,
    ) -> Reply:
        if self._down(role, experiment):
            raise ProviderFailed("down")
        if experiment == self._slow:
            time.sleep(0.3)
        text = USEFUL.get(role) or proposed(next(self._numbers))
        return Reply(text, True, 1, 1, 0.0, 0.0, spec.name)


class Killed(FakeLab):
    """Is killed at the second program."""

    def examine(self, assignment: Assignment, *watch: Callable[[str], None]) -> Outcome:
        if "Mixer2(" in assignment.source:
            raise KeyboardInterrupt
        return super().examine(assignment, *watch)


def run(
    models: LanguageModels,
    *,
    workers: int = 1,
    roles: str = "researcher+engineer",
    names: Sequence[str] = ("all",),
    store: Memory | None = None,
    lab: FakeLab | None = None,
    payoffs: Sequence[Payoff] = (),
) -> tuple[Memory, Kept]:
    store, kept = store or Memory(), Kept()
    specs = [parse_model(f"http://127.0.0.1:1/v1#{name},roles={roles}") for name in names]
    team = Team(models, specs, SIZE, notes=kept, payoffs=lambda: payoffs)
    plan = Plan(preset(), BASELINES + 4, 0, workers=workers)
    for _ in discover(plan, team, lab or FakeLab(), store, advisers=team):
        pass
    return store, kept


def same(one: Memory, other: Memory) -> bool:
    pairs = zip(one.records(), other.records(), strict=True)
    return all(a.same_as(b) for a, b in pairs) and one.lessons() == other.lessons()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_of_two_workers_is_replayed_whichever_answered_first(
    tmp_path: Path, workers: int
) -> None:
    with Recorder(Counting(slow=BASELINES), tmp_path / "tape", scrub) as recorder:
        first, _ = run(recorder, workers=2)
    assert same(first, run(Player(tmp_path / "tape"), workers=workers)[0])


def test_a_run_with_a_judge_that_was_down_once_is_replayed(tmp_path: Path) -> None:
    models = Counting(down=lambda role, number: (role, number) == ("judge", BASELINES + 1))
    with Recorder(models, tmp_path / "tape", scrub) as recorder:
        first, kept = run(recorder, roles=ROLES)
    again, replayed = run(Player(tmp_path / "tape"), roles=ROLES)
    assert same(first, again)
    assert kept.fallbacks() == replayed.fallbacks()
    assert kept.judgements() == replayed.judgements()


def test_a_run_with_a_model_that_was_given_up_is_replayed(tmp_path: Path) -> None:
    models = Counting(down=lambda role, number: role in USEFUL)
    with Recorder(models, tmp_path / "tape", scrub) as recorder:
        _, kept = run(recorder, roles=ROLES)
    assert "not asked any more" in kept.fallbacks()[-1].reason
    assert run(Player(tmp_path / "tape"), roles=ROLES)[1].fallbacks() == kept.fallbacks()


def test_a_run_that_was_killed_and_went_on_is_replayed(tmp_path: Path) -> None:
    models, store = Counting(), Memory()
    with (
        pytest.raises(KeyboardInterrupt),
        Recorder(models, tmp_path / "tape", scrub) as recorder,
    ):
        run(recorder, store=store, lab=Killed())
    assert len(store.experiments) == BASELINES + 1
    with Recorder(models, tmp_path / "tape", scrub) as recorder:
        run(recorder, store=store)
    assert same(store, run(Player(tmp_path / "tape"))[0])


def test_a_run_of_two_models_is_replayed_without_what_they_cost_then(tmp_path: Path) -> None:
    names = ("a", "b")
    dear = [Payoff("http://127.0.0.1:1/v1#a", 1.0, 0.0)] * 50
    with Recorder(Counting(), tmp_path / "tape", scrub) as recorder:
        first, _ = run(recorder, names=names, payoffs=dear)
    with Recorder(Counting(), tmp_path / "other", scrub) as recorder:
        assert not same(first, run(recorder, names=names)[0])
    assert same(first, run(Player(tmp_path / "tape"), names=names)[0])
