"""Names of models, and their keys."""

import subprocess
import sys
from pathlib import Path

import pytest

from move37.records import InputError
from move37.research.models import ROLES, Access, ModelSpec, parse_model, read_models
from move37.research.prompts import prompt

KEY = "sk-SECRET-0123456789"
LOCAL = "http://127.0.0.1:8000/v1#qwen3"


@pytest.mark.parametrize(
    ("name", "provider", "model", "url"),
    [
        ("openai:gpt-5", "openai", "gpt-5", "https://api.openai.com/v1"),
        ("anthropic:claude-x", "anthropic", "claude-x", "https://api.anthropic.com"),
        ("openrouter:a/b:free", "openrouter", "a/b:free", "https://openrouter.ai/api/v1"),
        (LOCAL, "", "qwen3", "http://127.0.0.1:8000/v1"),
        ("https://h/v1#a/b#c", "", "a/b#c", "https://h/v1"),
    ],
)
def test_a_name_says_whom_to_ask_for_what(name: str, provider: str, model: str, url: str) -> None:
    spec = parse_model(name)
    assert (spec.provider, spec.model, spec.url) == (provider, model, url)


def test_the_options_of_a_model_stand_behind_its_name() -> None:
    text = "openai:gpt-5,weight=2,input=0.5,output=1.5,roles=engineer+judge,key_env=K"
    assert parse_model(text) == ModelSpec("openai:gpt-5", 2.0, 0.5, 1.5, ("engineer", "judge"), "K")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gpt-5", "expected a model as openai:NAME"),
        ("openai:", "expected a model as openai:NAME"),
        ("http://127.0.0.1/v1", "expected a model as http://HOST:PORT/v1#NAME"),
        ("http://h:99999/v1#m", "expected a model as http://HOST:PORT/v1#NAME"),
        ("ftp://h/v1#m", "expected a model as http://HOST:PORT/v1#NAME"),
        ("openai:gpt-5,weight=0", "expected a weight above 0 and up to 1,000,000, got 0"),
        ("openai:gpt-5,weight=nan", "expected a weight above 0 and up to 1,000,000, got nan"),
        ("openai:gpt-5,weight=much", "expected a number in weight=, got 'much'"),
        ("openai:gpt-5,input=1", "give both or neither"),
        ("openai:gpt-5,input=-1,output=1", "0 to 1,000,000 dollars per million tokens"),
        ("openai:gpt-5,colour=red", "expected weight="),
        ("openai:gpt-5,weight", "expected weight="),
    ],
)
def test_a_model_that_cannot_be_is_refused(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse_model(text)


@pytest.mark.parametrize(
    "text",
    [
        f"http://me:{KEY}@host/v1#m",
        f"http://host/v1?key={KEY}#m",
        f"openai:gpt-5,key_env={KEY}",
    ],
)
def test_a_key_in_the_wrong_place_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_model(text)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.9.9.9"])
def test_an_endpoint_on_this_machine_is_local(host: str) -> None:
    assert parse_model(f"http://{host}:8000/v1#m").is_local


@pytest.mark.parametrize("name", ["http://10.0.0.1/v1#m", "http://localhost.org/v1#m", "openai:m"])
def test_an_endpoint_elsewhere_is_not_local(name: str) -> None:
    assert not parse_model(name).is_local


def test_a_model_without_roles_plays_all() -> None:
    assert parse_model("openai:gpt-5").plays("judge")
    assert not parse_model("openai:gpt-5,roles=engineer").plays("judge")


# ---------------------------------------------------------------- the file of models


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_holds_one_table_for_each_model(tmp_path: Path) -> None:
    text = '[[model]]\nname = "openai:gpt-5"\nroles = ["judge"]\n'
    text += f'[[model]]\nname = "{LOCAL}"\nweight = 3\n'
    found = read_models(written(tmp_path / "models.toml", text))
    assert found == (ModelSpec("openai:gpt-5", roles=("judge",)), ModelSpec(LOCAL, weight=3))


def test_a_file_takes_prices_by_the_names_of_the_command_line(tmp_path: Path) -> None:
    text = '[[model]]\nname = "openai:m"\ninput = 1\noutput = 2.5'
    found = read_models(written(tmp_path / "models.toml", text))
    assert found == (parse_model("openai:m,input=1,output=2.5"),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected tables"),
        ("[[model", "expected a TOML file"),
        ("model = 3", "expected tables"),
        ("[[model]]\nweight = 2", "model 1: expected a table with the name"),
        ('[[model]]\nname = "openai:m"\ncolour = 1', "got 'colour'"),
        ('[[model]]\nname = "openai:m"\nweight = true', "expected a number for weight, got True"),
        (
            '[[model]]\nname = "openai:m"\nroles = "all"',
            "expected a list, as .* for roles, got 'all'",
        ),
        ('[[model]]\nname = "openai:m,weight=2"', "expected the name alone"),
        ('[[model]]\nname = "openai:m"\n' * 2, "got openai:m twice"),
        ('[[model]]\nname = "openai:m"\n[other]', "got 'model', 'other'"),
    ],
)
def test_a_file_that_is_none_of_models_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_models(written(tmp_path / "models.toml", text))


def test_a_missing_file_of_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a TOML file"):
        read_models(tmp_path / "none.toml")


# ---------------------------------------------------------------- keys


def access(
    name: str, environment: dict[str, str], secrets: Path | None = None
) -> tuple[Access, ModelSpec]:
    spec = parse_model(name)
    return Access.read([spec], environment, secrets), spec


def key(name: str, environment: dict[str, str], secrets: Path | None = None) -> str | None:
    found, spec = access(name, environment, secrets)
    return found.key(spec)


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("openai:m", "OPENAI_API_KEY"),
        ("anthropic:m", "ANTHROPIC_API_KEY"),
        ("google:m", "GEMINI_API_KEY"),
        ("google:m", "GOOGLE_API_KEY"),
        ("openrouter:m", "OPENROUTER_API_KEY"),
        ("https://openrouter.ai/api/v1#m", "OPENROUTER_API_KEY"),
        ("openai:m,key_env=MINE", "MINE"),
        ("http://h/v1#m,key_env=MINE", "MINE"),
    ],
)
def test_a_key_comes_from_its_variable(name: str, variable: str) -> None:
    assert key(name, {variable: KEY}) == KEY


def test_a_missing_key_is_told_by_the_name_of_its_variable() -> None:
    with pytest.raises(InputError, match="expected its key in OPENAI_API_KEY, got none"):
        key("openai:m", {"ANTHROPIC_API_KEY": KEY})


def test_an_empty_key_is_none() -> None:
    with pytest.raises(InputError, match="got none"):
        key("openai:m", {"OPENAI_API_KEY": " "})


def test_the_key_of_a_provider_goes_to_no_other_endpoint() -> None:
    assert key(LOCAL, {"OPENAI_API_KEY": KEY, "OPENROUTER_API_KEY": KEY}) is None


@pytest.mark.parametrize(
    "line",
    [
        f"OPENAI_API_KEY={KEY}",
        f'OPENAI_API_KEY = "{KEY}"  # mine',
        f"export OPENAI_API_KEY='{KEY}'",
        f"# keys\n\nOPENAI_API_KEY = {KEY} # mine",
    ],
)
def test_a_key_may_stand_in_a_file_and_goes_first(tmp_path: Path, line: str) -> None:
    path = written(tmp_path / "secrets", line)
    assert key("openai:m", {"OPENAI_API_KEY": "sk-other"}, path) == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_of_secrets_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "secrets", f"OPENAI_API_KEY={KEY}", mode)
    with pytest.raises(InputError, match="chmod 600"):
        key("openai:m", {}, path)


def test_a_line_that_is_no_key_is_told_by_its_number_and_not_shown(tmp_path: Path) -> None:
    path = written(tmp_path / "secrets", f"# keys\n{KEY}\n")
    with pytest.raises(InputError, match="line 2: expected KEY=value") as caught:
        key("openai:m", {}, path)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("strange", [f"{KEY}\nX: y", f"{KEY} x", f"{KEY}é", f'"{KEY}"'])
def test_a_key_that_would_break_a_header_is_refused_and_not_shown(strange: str) -> None:
    with pytest.raises(InputError, match="OPENAI_API_KEY: expected a key of plain") as caught:
        key("openai:m", {"OPENAI_API_KEY": strange})
    assert "SECRET" not in str(caught.value)


def test_a_variable_may_move_a_provider() -> None:
    found, spec = access("openai:m", {"OPENAI_BASE_URL": "http://proxy/v1"})
    assert found.url(spec) == "http://proxy/v1"


def test_the_repr_of_the_keys_shows_none() -> None:
    assert "SECRET" not in repr(access("openai:m", {"OPENAI_API_KEY": KEY})[0])


def test_every_known_key_is_scrubbed_in_every_form() -> None:
    environment = {"OPENAI_API_KEY": "sk+1/2=", "ANTHROPIC_API_KEY": "sk+1/2=long"}
    found = access("openai:m", environment)[0]
    assert found.scrub("a sk+1/2= b sk+1/2=long c sk%2B1%2F2%3D d") == "a *** b *** c *** d"


def test_a_key_from_the_file_of_secrets_is_scrubbed(tmp_path: Path) -> None:
    path = written(tmp_path / "secrets", f"ANY={KEY}")
    assert access("openai:m", {}, path)[0].scrub(f"the {KEY}") == "the ***"


# ---------------------------------------------------------------- cost of importing


def test_nothing_of_the_library_is_loaded_before_a_model_is_asked() -> None:
    code = "import sys, move37.cli, move37.research.client, move37.research.cassette\n"
    code += "import move37.research.chooser\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded & {"pydantic_ai", "openai", "anthropic", "google", "genai_prices"} == set()


def test_a_role_that_there_is_not_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected roles among researcher, .* got 'reseacher'"):
        parse_model("openai:gpt-5,roles=judge+reseacher")


def test_every_role_has_a_prompt() -> None:
    assert {prompt(role).role for role in ROLES} == set(ROLES)
