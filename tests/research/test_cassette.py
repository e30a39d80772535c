"""What was recorded is replayed, and nothing else."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from move37.records import InputError
from move37.research.cassette import Player, Recorder
from move37.research.models import (
    LanguageModels,
    ModelSpec,
    ProviderFailed,
    Reply,
    TooLong,
    parse_model,
)

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


def ask(models: LanguageModels, prompt: str = "one\ntwo", spec: ModelSpec = SPEC) -> Reply:
    return models.ask(spec, "be brief", prompt, role="judge", max_output_tokens=9, experiment=3)


def recorded(path: Path, *answers: Reply | Exception, prompts: Sequence[str] = ()) -> Path:
    with Recorder(Scripted(answers), path, scrub) as recorder:
        for prompt in prompts or ["one\ntwo"] * len(answers):
            with contextlib.suppress(TooLong, ProviderFailed):
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


def test_a_failure_of_the_network_is_not_on_the_cassette(tmp_path: Path) -> None:
    assert recorded(tmp_path / "tape", ProviderFailed("503")).read_bytes() == b""


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
    with pytest.raises(InputError, match="was recorded 1 times"):
        ask(player)


def test_an_empty_cassette_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which is empty"):
        ask(Player(recorded(tmp_path / "tape")))


def test_a_recorder_goes_on_behind_what_is_there(tmp_path: Path) -> None:
    recorded(tmp_path / "tape", reply("a"))
    player = Player(recorded(tmp_path / "tape", reply("b")))
    assert [ask(player).text, ask(player).text] == ["a", "b"]


def test_a_line_that_was_cut_is_taken_away(tmp_path: Path) -> None:
    path = recorded(tmp_path / "tape", reply("a"), reply("b"))
    path.write_bytes(path.read_bytes()[:-20])
    player = Player(recorded(path, reply("c")))
    assert [ask(player).text, ask(player).text] == ["a", "c"]


def test_a_key_is_not_on_the_cassette(tmp_path: Path) -> None:
    path = recorded(
        tmp_path / "tape", reply(f"say {KEY}"), TooLong(KEY, None), prompts=[f"a {KEY}", KEY]
    )
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
