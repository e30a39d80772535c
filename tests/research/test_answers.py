"""What is read from a model's answer, and what it is told where nothing can be."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from move37.nn.interop import HEADS, WIDTHS
from move37.research.answers import Answer, Unusable, form, read_answer, read_object
from tests.research.answers import GOOD, PROGRAM, fenced
from tests.research.answers.edits import CHANGED, FITTING, PARENT, UNFITTING, WAS, edit
from tests.research.answers.refused import CUT_OFF, REFUSED
from tests.research.answers.understood import BARE, BLOCKS, JSON, OBJECTS, UNDERSTOOD

ROOT = Path(__file__).parents[2]
LOADABLE = sorted(
    file
    for folder in ("move37/nn/mixers", "tests/honest", "tests/cheats", "tests/nn/fla_style")
    for file in (ROOT / folder).glob("*.py")
    if file.name != "__init__.py"
)


def told(answer: str, parent: str | None = None, finished: bool = True) -> str:
    with pytest.raises(Unusable) as refusal:
        read_answer(answer, parent=parent, finished=finished)
    return str(refusal.value)


@pytest.mark.parametrize("what", UNDERSTOOD)
def test_the_program_is_found_whatever_is_odd_about_the_answer(what: str) -> None:
    assert read_answer(UNDERSTOOD[what]).source.strip() == PROGRAM.strip()


@pytest.mark.parametrize("what", UNDERSTOOD)
def test_the_mixer_has_its_name_whatever_is_odd_about_the_answer(what: str) -> None:
    assert read_answer(UNDERSTOOD[what]).name == "RunningMean"


@pytest.mark.parametrize("what", REFUSED)
def test_an_answer_without_a_program_is_refused_with_the_reason(what: str) -> None:
    answer, reason = REFUSED[what]
    assert reason in told(answer)


@pytest.mark.parametrize("what", CUT_OFF)
def test_of_an_answer_that_was_cut_off_only_what_is_closed_counts(what: str) -> None:
    answer, reason = CUT_OFF[what]
    assert reason in told(answer, finished=False)


@pytest.mark.parametrize("what", FITTING)
def test_an_edit_of_the_parent_makes_a_program(what: str) -> None:
    assert read_answer(FITTING[what], parent=PARENT).source == CHANGED


@pytest.mark.parametrize("what", UNFITTING)
def test_an_edit_that_leaves_no_new_program_is_refused_with_the_reason(what: str) -> None:
    answer, reason = UNFITTING[what]
    assert reason in told(answer, parent=PARENT)


def test_at_least_a_hundred_and_thirty_answers_are_read() -> None:
    assert len(UNDERSTOOD) + len(REFUSED) + len(CUT_OFF) + len(FITTING) + len(UNFITTING) >= 130


# ---------------------------------------------------------------- what else an answer says


def test_a_good_answer_is_read_in_all_its_parts() -> None:
    answer = GOOD.replace("\n\n", "\nKnowledge: delta-net, based\n\n", 1)
    expected = Answer("RunningMean", "A mean forgets nothing.", PROGRAM, ("delta-net", "based"))
    assert read_answer(answer) == expected


def test_an_object_is_read_in_all_its_parts() -> None:
    answer = JSON.replace("{\n", '{\n"knowledge": ["delta-net", "based"],\n', 1)
    expected = Answer("RunningMean", "A mean forgets nothing.", PROGRAM, ("delta-net", "based"))
    assert read_answer(answer) == expected


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Gated Mean", "GatedMean"),
        ("gated-delta mean", "GatedDeltaMean"),
        ("**`GatedMean`**", "GatedMean"),
        ("it is a mean that forgets what it has not seen", "RunningMean"),
        ("2D", "RunningMean"),
        ("", "RunningMean"),
    ],
)
def test_a_name_is_one_word_or_else_that_of_the_class(said: str, name: str) -> None:
    assert read_answer(GOOD.replace("Name: RunningMean", f"Name: {said}")).name == name


def test_a_motivation_may_have_several_paragraphs() -> None:
    answer = GOOD.replace("nothing.", "nothing.\n\nIt is cheap, too.")
    assert read_answer(answer).motivation == "A mean forgets nothing.\n\nIt is cheap, too."


@pytest.mark.parametrize("answer", [BARE["no fence"], FITTING["one"], BLOCKS["usage after it"]])
def test_a_motivation_ends_where_code_begins(answer: str) -> None:
    parent = PARENT if "SEARCH" in answer else None
    assert read_answer(answer, parent=parent).motivation == "A mean forgets nothing."


def test_without_labels_the_prose_is_the_motivation() -> None:
    answer = f"A mean is enough.\n\n```python\n{PROGRAM}```\n"
    assert read_answer(answer).motivation == "A mean is enough."


def test_without_prose_the_docstring_is_the_motivation() -> None:
    assert read_answer(PROGRAM).motivation == "Keeps a mean."


@pytest.mark.parametrize(
    ("escaped", "meant"),
    [(r"\ud83d\ude80", "🚀"), (r"\ud800", "\ufffd"), (r"\u00a0\u0000", "")],
    ids=["a pair of surrogates", "a lone surrogate", "what cannot be seen"],
)
def test_a_character_that_is_escaped_is_read_as_one_that_is_written(
    escaped: str, meant: str
) -> None:
    answer = json.dumps({"name": "X", "motivation": "Fast@", "program": PROGRAM})
    read = read_answer(answer.replace("@", escaped))
    assert (read.motivation, read.source) == (f"Fast{meant}", PROGRAM)


def test_every_string_of_an_object_can_be_encoded() -> None:
    answer = r'{"text": "\ud83d\ude80", "lines": ["\ud800", {"\udfff": "\ud83d"}]}'
    expected = {"text": "🚀", "lines": ["\ufffd", {"\ufffd": "\ufffd"}]}
    assert read_object(answer, ("text",)) == expected


def test_a_program_with_escaped_emoji_is_read() -> None:
    program = PROGRAM.replace("Keeps a mean", "Keeps a mean 🚀")
    assert read_answer(json.dumps({"name": "X", "program": program})).source == program


def test_the_motivation_can_be_encoded_although_the_docstring_is_written_with_escapes() -> None:
    program = PROGRAM.replace("Keeps a mean.", r"Fast \ud83d\ude80 \ud800")
    assert read_answer(program).motivation == "Fast 🚀 \ufffd"


# ---------------------------------------------------------------- which program


@pytest.mark.parametrize("file", LOADABLE, ids=lambda file: file.stem)
def test_every_mixer_that_the_lab_is_tested_with_comes_back_to_the_letter(file: Path) -> None:
    program = file.read_text(encoding="utf-8")
    assert read_answer(fenced(program)).source == program


@pytest.mark.parametrize("around", [GOOD, PROGRAM], ids=["fenced", "bare"])
def test_a_docstring_may_hold_fences(around: str) -> None:
    docstring = (
        '"""Keeps a mean.\n\n```python\nmean = x.cumsum(1)\n```\n\nThat is:\n\n```\nx\n```\n"""'
    )
    answer = around.replace('"""Keeps a mean."""', docstring)
    assert docstring in read_answer(answer).source


def test_a_helper_in_a_block_of_its_own_is_joined_if_it_is_needed() -> None:
    program = PROGRAM.replace("v_BTD.cumsum(1)", "summed(v_BTD)")
    helper = "def summed(v):\n    return v.cumsum(1)\n"
    source = read_answer(f"{fenced(program)}```python\n{helper}```\n").source
    assert source == f"{program}\n\n{helper}"


def test_a_helper_in_a_block_of_its_own_is_left_if_it_is_not_needed() -> None:
    helper = "def summed(v):\n    return v.cumsum(1)\n"
    assert read_answer(f"{GOOD}```python\n{helper}```\n").source == PROGRAM


def test_of_two_programs_the_named_one_is_taken() -> None:
    other = PROGRAM.replace("RunningMean", "Other")
    assert read_answer(f"{GOOD}```python\n{other}```\n").source == PROGRAM


def test_of_two_programs_without_a_name_the_last_is_taken() -> None:
    other = PROGRAM.replace("RunningMean", "Other")
    answer = f"```python\n{PROGRAM}```\nBetter:\n```python\n{other}```\n"
    assert read_answer(answer).source == other


def test_quotes_and_dashes_in_strings_and_comments_stay() -> None:
    program = PROGRAM.replace("mean of", "“mean” – of").replace("-> None:", "–> None:  # “x” – y")
    source = read_answer(fenced(program)).source
    assert source == program.replace("–>", "->")


def test_entities_in_a_program_that_is_fine_do_no_harm() -> None:
    program = PROGRAM.replace("Keeps a mean", 'Keeps "a" &amp; b')
    assert "class RunningMean" in read_answer(fenced(program)).source


def test_an_odd_escape_in_a_docstring_is_no_slip() -> None:
    program = PROGRAM.replace("Keeps a mean", r"Keeps \sum_t v_t / t")
    assert read_answer(fenced(program)).source == program


def test_a_helper_class_with_an_underscore_is_not_a_second_mixer() -> None:
    program = (
        f"{PROGRAM}\n\nclass _Norm(nn.Module):\n    def __init__(self, dim, heads):\n        pass\n"
    )
    assert read_answer(fenced(program)).source == program


def test_a_mixer_may_inherit_its_constructor() -> None:
    base = PROGRAM.replace("class RunningMean", "class _Base")
    program = f"{base}\n\nclass RunningMean(_Base):\n    pass\n"
    assert read_answer(fenced(program)).name == "RunningMean"


def test_a_base_class_may_leave_a_method_to_the_mixer() -> None:
    body = "    def forward(self, x):\n        raise NotImplementedError\n"
    base = f"class _Base(nn.Module):\n{body}\n\n"
    program = PROGRAM.replace("class R", f"{base}class R").replace("an(nn.Module)", "an(_Base)")
    assert read_answer(fenced(program)).source == program


def test_a_method_that_has_nothing_to_do_may_pass() -> None:
    program = f"{PROGRAM}\n    def reset(self) -> None:\n        pass\n"
    assert read_answer(fenced(program)).source == program


@pytest.mark.parametrize(
    "comment",
    [
        "TODO: a fused kernel",
        "the rest of the state decays more slowly",
        "same as above, but for keys",
        "first the keys, then the values ...",
        "other methods of forgetting, see the paper, are slower",
        "the existing code, and what it costs",
        "the same ... for keys",
    ],
)
def test_a_comment_that_leaves_nothing_out_is_no_placeholder(comment: str) -> None:
    program = PROGRAM.replace("        v_BTD = ", f"        # {comment}\n        v_BTD = ")
    assert read_answer(fenced(program)).source == program


def test_an_example_under_main_is_part_of_the_program() -> None:
    program = (
        f'{PROGRAM}\n\nif __name__ == "__main__":\n    RunningMean(8, heads=2)(x).backward()\n'
    )
    assert read_answer(fenced(program)).source == program


def test_a_finished_program_counts_although_the_answer_was_cut_off_later() -> None:
    assert read_answer(f"{GOOD}It is lin", finished=False).source == PROGRAM


def test_a_passage_that_fits_twice_is_told_with_both_places() -> None:
    parent = PARENT.replace(WAS, f"        v_BTD = v_BTD * 2\n{WAS}{WAS}")
    assert "lines 21, 22" in told(edit(WAS, ""), parent)


def test_edits_of_an_answer_that_was_cut_off_are_not_made() -> None:
    assert "cut off after some of its edits" in told(FITTING["one"], PARENT, finished=False)


def test_widths_and_heads_have_the_names_that_the_lab_knows() -> None:
    assert (form.WIDTHS, form.HEADS) == (WIDTHS, HEADS)


def test_a_key_stands_behind_any_number_of_comments() -> None:
    answer = JSON.replace("{\n", "{ // [one {\n# two {\n /* three [ */ /**/\n", 1)
    assert read_answer(answer).source == PROGRAM


def test_a_bracket_within_a_comment_may_begin_the_object() -> None:
    assert read_object(f"{{ # Here it is: {JSON}", ("name",))["name"] == "RunningMean"


def test_a_tag_without_an_end_behind_others_with_one_stays() -> None:
    answer = f"<name>RunningMean</name>\nMotivation: x <name> y\n{fenced(PROGRAM)}"
    assert "<name>" in read_answer(answer).motivation


def test_a_line_number_of_thousands_of_digits_is_refused() -> None:
    assert "prose only" in told(fenced(f"{'1' * 5000} x y\n{'2' * 5000} x y\n"))


# ---------------------------------------------------------------- long answers

# Where the time is the square of the length, each takes from many seconds to hours.
LONG = {
    "words of an elision": fenced(f"# {'same ' * 39_000}"),
    "code of an elision": fenced(f"# {'existing code ' * 14_000},"),
    "brackets in a comment": "{#" * 50_000,
    "brackets in comments": "#{\n" * 50_000,
    "comments without an end": '{"a": ' + "/* " * 100_000,
    "spaces before a fence": " " * 100_000 + "```a`b",
    "spaces behind a fence": "```" + " " * 100_000 + "`",
    "tildes": "~" * 100_000 + "`",
    "tags without an end": "</name>" + "<name>" * 60_000,
    "parameters without an end": "</parameter>" + "<parameter name=a>" * 20_000,
    "empty lines": fenced("import x\n" + "\n" * 200_000 + "x = 1\n"),
    "spaces of an import": "import a\nimport" + " " * 100_000 + "!",
    "spaces of an annotation": "import a\nb\na:" + " " * 100_000 + "!",
    "spaces behind a program": '{"program": "a"' + " " * 200_000,
    "escaped quotes": fenced("x = " + '"' + r"\"" * 100_000),
    "inherited methods": fenced(
        "from torch import nn\nclass A(nn.Module):\n"
        " def __init__(self, dim, *, heads): self.x = 1\n"
        " def forward(self, x): return x\nclass _A0(A):\n pass\n"
        + "".join(f"class _A{n + 1}(_A{n}):\n def f{n}(self): return 1\n" for n in range(900))
        + "def _last(): ...\n"
    ),
}


@pytest.mark.parametrize("what", LONG)
def test_the_time_of_reading_is_not_the_square_of_the_length(what: str) -> None:
    assert told(LONG[what])


def test_the_time_of_finding_the_nearest_lines_is_not_the_square_of_their_length() -> None:
    wanted = ("x1 = 1 " * 2_000 + "\n") * 12
    parent = PARENT + wanted.replace("x1", "x2")
    assert "the nearest are at line" in told(edit(wanted, WAS), parent=parent)


# ---------------------------------------------------------------- whatever comes

FORMS = {
    "Markdown": GOOD,
    "JSON": OBJECTS["JSON, fenced"],
    "quotes": OBJECTS["triple single quotes"],
    "edits": FITTING["several, one after the other"],
    "tags": BARE["tags for all"],
}
PIECES = [
    "```",
    "```python\n",
    '"""',
    "'",
    "{",
    '"program":',
    "<think>",
    "</think>",
    "<code>\n",
    "<<<<<<< SEARCH\n",
    "=======\n",
    ">>>>>>> REPLACE\n",
    "@@ -1 +1 @@\n",
    "\x00",
    "\ud800",
    "class X(nn.Module):\n",
    "\t",
    "&lt;",
    "1 ",
    "+",
    "\\",
    "“",
    "Name:",
    "(" * 300,
]


def read_or_refused(answer: str, parent: str | None, finished: bool) -> Answer | None:
    try:
        return read_answer(answer, parent=parent, finished=finished)
    except Unusable:
        return None


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_cut_off_anywhere_gives_the_whole_program_or_none(form: str) -> None:
    parent = PARENT if form == "edits" else None
    whole = read_answer(FORMS[form], parent=parent).source
    for end in range(len(FORMS[form])):
        read = read_or_refused(FORMS[form][:end], parent, finished=False)
        assert read is None or read.source == whole


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_that_ends_anywhere_is_read_or_refused(form: str) -> None:
    for end in range(0, len(FORMS[form]), 7):
        read_or_refused(FORMS[form][:end], PARENT, finished=True)


@settings(max_examples=80, deadline=None)
@given(st.text(st.characters(), max_size=200), st.booleans())
def test_any_text_is_read_or_refused(answer: str, finished: bool) -> None:
    read_or_refused(answer, PARENT, finished)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from([*PIECES, *PROGRAM.splitlines(True)]), max_size=30).map("".join))
def test_any_heap_of_pieces_is_read_or_refused(answer: str) -> None:
    read_or_refused(answer, PARENT, finished=True)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(sorted(FORMS)),
    st.integers(0, 2000),
    st.sampled_from(PIECES) | st.text(st.characters(), max_size=5),
    st.integers(0, 40),
)
def test_a_good_answer_with_garbage_in_it_is_read_or_refused(
    form: str, at: int, garbage: str, lost: int
) -> None:
    answer = FORMS[form]
    read_or_refused(answer[:at] + garbage + answer[at + lost :], PARENT, finished=True)
