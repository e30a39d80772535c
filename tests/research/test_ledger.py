"""What calls cost, and that no limit is exceeded."""

import threading
from collections.abc import Callable

import pytest

from move37.records import Call, InputError
from move37.research.ledger import (
    BudgetSpent,
    CostRow,
    Ledger,
    Usage,
    costs,
    estimate_tokens,
    price,
    worst_price,
)
from move37.research.models import parse_model

PRICED = parse_model("http://10.0.0.1/v1#m,input=1,output=2")
UNKNOWN = parse_model("http://10.0.0.1/v1#m")
LOCAL = parse_model("http://127.0.0.1/v1#m")


def call(
    input_tokens: int = 10,
    output_tokens: int = 5,
    dollars: float | None = 0.0,
    role: str = "engineer",
    failed: str = "",
) -> Call:
    return Call(role, PRICED.name, input_tokens, output_tokens, 1.5, dollars, None, failed)


def test_a_price_of_ones_own_is_taken() -> None:
    assert price(PRICED, Usage(1000, 100)) == 0.0012


def test_a_price_is_rounded_up_to_a_billionth() -> None:
    cheap = parse_model("http://10.0.0.1/v1#m,input=0.00015,output=0")
    assert price(cheap, Usage(1, 0)) == 1e-9


def test_a_model_on_this_machine_costs_nothing() -> None:
    assert price(LOCAL, Usage(1000, 100)) == 0


def test_a_known_model_has_its_listed_price() -> None:
    assert price(parse_model("openai:gpt-4o"), Usage(1_000_000, 100_000)) == 3.5


def test_what_is_read_from_a_cache_is_cheaper() -> None:
    usage = Usage(1_000_000, 100_000, cache_read_tokens=1_000_000)
    assert price(parse_model("openai:gpt-4o"), usage) == 2.25


def test_the_worst_price_holds_the_writing_of_a_cache() -> None:
    spec = parse_model("anthropic:claude-sonnet-4-5")
    written = price(spec, Usage(1000, 10, cache_write_tokens=1000))
    assert worst_price(spec, 1000, 10) == written != price(spec, Usage(1000, 10))


def test_a_model_that_is_not_listed_has_no_price() -> None:
    assert price(parse_model("openai:no-such-model"), Usage(1, 1)) is None
    assert price(UNKNOWN, Usage(1, 1)) is None


def test_a_prompt_is_estimated_at_a_third_of_its_characters_and_a_frame() -> None:
    assert estimate_tokens("abc", "d" * 300) == 1 + 100 + 64


def test_letters_beyond_ascii_are_estimated_at_their_bytes() -> None:
    assert estimate_tokens("", "混合") == 6 + 64


def test_what_fits_exactly_is_reserved() -> None:
    Ledger(max_dollars=0.0012, max_tokens=1100).reserve(PRICED, 1000, 100)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (
            (0.0031, None),
            "--max-dollars leaves no room: $0.0020 of $0.0031 are spent, and the next call to "
            "http://10.0.0.1/v1#m may cost $0.0012: the same command with a larger --max-dollars "
            "goes on, or, if the prompt leaves room, with max_output=N behind the model",
        ),
        (
            (None, 2_099),
            "--max-tokens leaves no room: 1,000 of 2,099 tokens are spent, and the next call to "
            "http://10.0.0.1/v1#m may take 1,100: the same command with a larger --max-tokens "
            "goes on, or, if the prompt leaves room, with max_output=N behind the model",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_is_spent_and_the_limit(
    limits: tuple[float | None, int | None], told: str
) -> None:
    spent = call(900, 100, dollars=0.002)
    ledger = Ledger(max_dollars=limits[0], max_tokens=limits[1], earlier=[spent])
    with pytest.raises(BudgetSpent) as caught:
        ledger.reserve(PRICED, 1000, 100)
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (
            (None, 1_099),
            "--max-tokens 1,099 is less than one call to http://10.0.0.1/v1#m may take, 1,100",
        ),
        (
            (0.0011, None),
            "--max-dollars of $0.0011 is less than one call to http://10.0.0.1/v1#m may cost, "
            "$0.0012",
        ),
    ],
)
def test_a_limit_below_one_call_is_refused(
    limits: tuple[float | None, int | None], told: str
) -> None:
    with pytest.raises(InputError) as caught:
        Ledger(max_dollars=limits[0], max_tokens=limits[1]).check_room(PRICED, 1_000, 100)
    mend = "raise it, or name a smaller max_output=N behind the model"
    assert str(caught.value) == f"{told} or more: {mend}"


def test_a_limit_of_one_call_is_taken() -> None:
    Ledger(max_dollars=0.0012, max_tokens=1_100).check_room(PRICED, 1_000, 100)


def test_a_refused_call_holds_nothing_back() -> None:
    ledger = Ledger(max_tokens=100)
    with pytest.raises(BudgetSpent):
        ledger.reserve(PRICED, 1000, 100)
    assert ledger.tokens == ledger.dollars == 0


@pytest.mark.parametrize(("took", "fits"), [(10, True), (1000, False)])
def test_what_fits_beside_what_is_spent_waits_for_calls_in_flight(took: int, fits: bool) -> None:
    ledger = Ledger(max_tokens=2000)
    held = ledger.reserve(PRICED, 1000, 100)
    told: list[str] = []

    def spend() -> None:
        try:
            ledger.reserve(PRICED, 1000, 100)
            told.append("reserved")
        except BudgetSpent as error:
            told.append(str(error))

    thread = threading.Thread(target=spend)
    thread.start()
    thread.join(0.1)
    assert told == []
    ledger.settle(held, call(took, 100, 0.0))
    thread.join()
    assert told == ["reserved"] if fits else "1,100 of 2,000 tokens are spent" in told[0]


def test_the_true_usage_takes_the_place_of_the_reservation() -> None:
    ledger = Ledger(max_dollars=1)
    ledger.settle(ledger.reserve(PRICED, 1000, 100), call(10, 5, 0.00002))
    assert (ledger.tokens, ledger.dollars) == (15, 0.00002)


def test_an_endpoint_that_counts_more_than_was_reserved_is_believed() -> None:
    ledger = Ledger(max_tokens=1000)
    ledger.settle(ledger.reserve(PRICED, 100, 100), call(900, 200))
    with pytest.raises(BudgetSpent, match="1,100 of 1,000 tokens"):
        ledger.reserve(PRICED, 1, 0)


def test_calls_of_an_earlier_session_count() -> None:
    ledger = Ledger(max_dollars=0.5, earlier=[call(dollars=0.3), call(dollars=0.2)])
    with pytest.raises(BudgetSpent, match=r"\$0.5000 of \$0.5000 are spent"):
        ledger.reserve(PRICED, 1, 0)


def test_ten_thousand_small_calls_fill_the_limit_exactly() -> None:
    ledger = Ledger(max_dollars=0.1)
    for _ in range(10_000):  # floats would be off by 1e-14 by then
        ledger.settle(ledger.reserve(PRICED, 10, 0), call(10, 0, 0.00001))
    with pytest.raises(BudgetSpent):
        ledger.reserve(PRICED, 1, 0)


def test_dollars_cannot_be_limited_without_a_price() -> None:
    with pytest.raises(InputError, match=r"as in MODEL,input=0\.5,output=2"):
        Ledger(max_dollars=1).reserve(UNKNOWN, 1, 1)


def test_tokens_can_be_limited_without_a_price() -> None:
    assert Ledger(max_tokens=2).reserve(UNKNOWN, 1, 1).dollars is None


@pytest.mark.parametrize("limit", [-1.0, float("nan"), float("inf")])
def test_a_limit_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(InputError, match="expected --max-dollars of 0 to 1,000,000,000"):
        Ledger(max_dollars=limit)


def test_every_settled_call_is_kept() -> None:
    kept: list[Call] = []
    ledger = Ledger(keep=kept.append)
    ledger.settle(ledger.reserve(PRICED, 1000, 100), call())
    assert kept == [call()]


def test_no_limit_is_exceeded_by_eight_threads() -> None:
    ledger = Ledger(max_tokens=10_000, max_dollars=0.01)
    held: list[tuple[int, float]] = []

    def spend() -> None:
        while True:
            try:
                reservation = ledger.reserve(PRICED, 50, 50)
            except BudgetSpent:
                return
            held.append((ledger.tokens, ledger.dollars))
            ledger.settle(reservation, call(20, 10, 0.00004))

    _in_threads(8, spend)
    assert len(held) > 200
    assert max(tokens for tokens, _ in held) <= 10_000
    assert max(dollars for _, dollars in held) <= 0.01


def _in_threads(number: int, work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_costs_are_summed_by_role_and_model() -> None:
    calls = [call(dollars=0.1), call(dollars=0.2, failed="429"), call(role="judge", dollars=0.4)]
    assert costs(calls) == [
        CostRow("engineer", PRICED.name, 2, 1, 20, 10, 3.0, 0.3),
        CostRow("judge", PRICED.name, 1, 0, 10, 5, 1.5, 0.4),
    ]


def test_a_sum_with_a_price_that_is_not_known_is_not_known() -> None:
    (row,) = costs([call(dollars=0.1), call(dollars=None)])
    assert row.dollars is None
