"""Which language models there are, how they are reached, and what they answer.

Nothing here sends anything: `client` does, and `cassette` replays. A model is named

    openai:gpt-5    anthropic:claude-sonnet-4-5    google:gemini-2.5-pro    openrouter:qwen/qwen3
    http://127.0.0.1:8000/v1#qwen3      any endpoint that speaks OpenAI's chat completions

A key comes from the environment or from a file that only its owner may read. It is never part of
a repr, a record or an error; what an endpoint says passes through `Access.scrub`.
"""

import ipaddress
import os
import re
import stat
import tomllib
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from move37.records import InputError, RunFailed
from move37.research.bounds import MOST_DOLLARS_PER_MILLION, MOST_OUTPUT_TOKENS, MOST_WEIGHT

ROLES = ("researcher", "engineer", "novelty_judge", "analyst", "summariser", "judge")
LEAST_KEY = 6  # characters
# By these names the command line and a file take the prices.
PRICES = {"input": "input_dollars_per_million", "output": "output_dollars_per_million"}
FORMS = "openai:NAME, anthropic:NAME, google:NAME, openrouter:NAME or http://HOST:PORT/v1#NAME"


class Provider(NamedTuple):
    """Where a provider is reached, and which variables may say otherwise."""

    url: str
    url_variable: str
    key_variables: tuple[str, ...]


PROVIDERS = {
    "openai": Provider("https://api.openai.com/v1", "OPENAI_BASE_URL", ("OPENAI_API_KEY",)),
    "anthropic": Provider(
        "https://api.anthropic.com", "ANTHROPIC_BASE_URL", ("ANTHROPIC_API_KEY",)
    ),
    "google": Provider(
        "https://generativelanguage.googleapis.com",
        "GOOGLE_GEMINI_BASE_URL",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    ),
    "openrouter": Provider(
        "https://openrouter.ai/api/v1", "OPENROUTER_BASE_URL", ("OPENROUTER_API_KEY",)
    ),
}


@dataclass(frozen=True)
class ModelSpec:
    """A language model, and the part that it has in the run."""

    name: str
    weight: float = 1.0  # how much it is preferred over the others, above 0
    input_dollars_per_million: float | None = None  # tokens; None: the bundled list of prices
    output_dollars_per_million: float | None = None
    roles: tuple[str, ...] = ()  # empty: all
    key_env: str = ""  # the variable that holds its key; empty: the provider's usual one
    max_output: int | None = None  # tokens of one answer; None: as many as the role may have

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not 0 < self.weight <= MOST_WEIGHT:
            told = f"expected a weight above 0 and up to {MOST_WEIGHT:,.0f}"
            raise InputError(f"{self.name}: {told}, got {_cut(self.weight)}")
        prices = (self.input_dollars_per_million, self.output_dollars_per_million)
        known = [price for price in prices if price is not None]
        if len(known) == 1 or not all(0 <= one <= MOST_DOLLARS_PER_MILLION for one in known):
            told = (
                "expected the price of input and of output, 0 to "
                f"{MOST_DOLLARS_PER_MILLION:,.0f} dollars per million tokens, got {_cut(prices)}"
            )
            raise InputError(f"{self.name}: {told}: give both or neither")
        for role in self.roles:
            if role not in ROLES:
                told = f"expected roles among {', '.join(ROLES)}, got {role!r}"
                raise InputError(f"{self.name}: {told}")
        if self.max_output is not None and not 1 <= self.max_output <= MOST_OUTPUT_TOKENS:
            told = f"expected max_output of 1 to {MOST_OUTPUT_TOKENS:,} tokens"
            told += f", got {_cut(self.max_output)}"
            raise InputError(f"{self.name}: {told}")
        if not re.fullmatch(r"\w*", self.key_env, re.ASCII):
            # A key that was put here by mistake is not repeated.
            told = "expected the name of a variable in key_env, got something else"
            raise InputError(f"{self.name}: {told}: write the key itself into the environment")

    @property
    def provider(self) -> str:
        """Returns the name of the provider, "" for an endpoint with a URL of its own."""
        return "" if "://" in self.name else self.name.partition(":")[0]

    @property
    def model(self) -> str:
        """Returns the name under which the endpoint knows the model."""
        return self.name.partition("#" if "://" in self.name else ":")[2]

    @property
    def url(self) -> str:
        """Returns the endpoint's usual address."""
        return PROVIDERS[self.provider].url if self.provider else self.name.partition("#")[0]

    @property
    def is_local(self) -> bool:
        """Says whether the endpoint is on this machine: it costs nothing."""
        return not self.provider and is_loopback(self.url)

    def plays(self, role: str) -> bool:
        """Says whether the model may be asked in this role."""
        return not self.roles or role in self.roles

    def capped(self, output_tokens: int) -> int:
        """Returns the most tokens of one answer, in a role that may have so many."""
        return min(output_tokens, self.max_output or output_tokens)


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def is_loopback(url: str) -> bool:
    """Says whether an address is on this machine."""
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_name(name: str) -> None:
    provider, _, model = name.partition(":")
    if "://" not in name:
        if provider not in PROVIDERS or not model or model != model.strip():
            raise InputError(f"expected a model as {FORMS}, got {name!r}")
        return
    try:
        parts = urllib.parse.urlsplit(name)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise InputError("expected a model as http://HOST:PORT/v1#NAME, got no URL") from None
    if "@" in parts.netloc or parts.query:
        # The name is printed and stored, so it may hold no secret; nor does this message.
        told = "expected a URL without user, password and query"
        raise InputError(f"{told}, got one with: put the key into a variable and name it: key_env=")
    if not fine or not parts.fragment:
        raise InputError(f"expected a model as http://HOST:PORT/v1#NAME, got {name!r}")


# ---------------------------------------------------------------- from the user


def parse_model(text: str) -> ModelSpec:
    """Returns the model that the command line names.

    NAME[,weight=2][,input=DOLLARS][,output=DOLLARS][,roles=a+b][,key_env=VARIABLE]
    [,max_output=TOKENS]; prices are in dollars per million tokens. Raises InputError for anything
    else.
    """
    name, *options = (part.strip() for part in text.split(","))
    data: dict[str, Any] = {"name": name}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or key not in (
            "weight",
            "input",
            "output",
            "roles",
            "key_env",
            "max_output",
        ):
            told = (
                "expected weight=, input=, output=, roles=, key_env= or max_output= after the model"
            )
            raise InputError(f"{told}, got {key!r} in that of {name!r}")
        if key == "roles":
            data[key] = value.split("+")
        elif key == "key_env":
            data[key] = value
        else:
            try:
                number = int(value) if key == "max_output" else float(value)
                data[key] = number
            except ValueError:
                raise InputError(
                    f"{name}: expected a number in {key}=, got {_cut(value)}"
                ) from None
    return _spec(data, name)


def read_models(path: Path) -> tuple[ModelSpec, ...]:
    """Returns the models of a TOML file, one `[[model]]` table each; raises InputError.

    The keys of a table are those of the command line, or the fields of ModelSpec; only `name` is
    needed.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a TOML file of models: {error}") from None
    tables = data.get("model")
    if set(data) != {"model"} or not isinstance(tables, list) or not tables:
        got = ", ".join(map(repr, data)) or "nothing"
        raise InputError(f"{path}: expected tables [[model]] and nothing else, got {got}")
    specs = tuple(
        _spec(table, f"{path}: model {number}") for number, table in enumerate(tables, start=1)
    )
    return distinct(specs)


def distinct(specs: Iterable[ModelSpec]) -> tuple[ModelSpec, ...]:
    """Returns the models; raises InputError if one is named twice."""
    kept = tuple(specs)
    names = [spec.name for spec in kept]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"expected each model once, got {name} twice: join their roles")
    return kept


def _spec(data: object, place: str) -> ModelSpec:
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        raise InputError(f"{place}: expected a table with the name of a model: name = {FORMS}")
    if "," in data["name"]:
        told = "expected the name alone, and weight, roles and the like as keys of their own"
        raise InputError(f"{place}: {told}, got {data['name']!r}")
    said = {PRICES.get(str(key), str(key)): value for key, value in data.items()}
    known = {f.name for f in fields(ModelSpec)}
    for key, value in said.items():
        if key not in known:
            names = sorted(known - set(PRICES.values()) | set(PRICES))
            raise InputError(f"{place}: expected {', '.join(names)}, got {key!r}")
        if key == "roles":
            fine = isinstance(value, list) and all(isinstance(x, str) and x for x in value)
            kind = f'a list, as ["{ROLES[1]}"]'
        elif key in ("name", "key_env"):
            fine, kind = isinstance(value, str), "text"
        elif key == "max_output":
            fine, kind = isinstance(value, int) and not isinstance(value, bool), "a whole number"
        else:
            fine, kind = isinstance(value, int | float) and not isinstance(value, bool), "a number"
        if not fine:
            raise InputError(f"{place}: expected {kind} for {key}, got {value!r}")
    roles = {"roles": tuple(said["roles"])} if "roles" in said else {}
    return ModelSpec(**(said | roles))


# ---------------------------------------------------------------- keys and addresses


@dataclass(frozen=True)
class Access:
    """The keys and addresses of some models; its repr shows neither."""

    _values: Mapping[str, str] = field(repr=False)  # by the name of the variable
    _secret: frozenset[str] = field(repr=False)  # the names whose values are keys

    @classmethod
    def read(
        cls,
        specs: Iterable[ModelSpec],
        environment: Mapping[str, str],
        secrets: Path | None = None,
    ) -> "Access":
        """Returns what the environment and the secrets file hold for these models.

        The file goes first. It has lines KEY=value or KEY = "value". Raises InputError if others
        may read it, or if a key cannot be one.
        """
        held = _read_secrets(secrets) if secrets else {}
        names = {name for provider in PROVIDERS.values() for name in provider.key_variables}
        names |= {spec.key_env for spec in specs if spec.key_env}
        urls = {provider.url_variable for provider in PROVIDERS.values()}
        values = {name: environment[name].strip() for name in names | urls if name in environment}
        values |= held
        secret = frozenset((names | set(held)) & set(values))
        for name in sorted(secret):
            # No white space, quote or backslash: a key looks the same in a header, a repr and JSON.
            if values[name] and not re.fullmatch(r"[!#-&(-\[\]-~]+", values[name]):
                raise InputError(f"{name}: expected a key of plain ASCII characters: copy it again")
        return cls({name: value for name, value in values.items() if value}, secret)

    def key(self, spec: ModelSpec) -> str | None:
        """Returns the model's key; None if there is none and an endpoint may do without.

        A provider's key goes to that provider only. Raises InputError if the key is missing.
        """
        names = key_variables(spec)
        for name in names:
            if name in self._values:
                return self._values[name]
        if names:
            told = f"{spec.name}: expected its key in {' or '.join(names)}, got none"
            raise InputError(f"{told}: set it in the environment or in the file of secrets")
        return None

    def url(self, spec: ModelSpec) -> str:
        """Returns the address at which the model is asked."""
        if not spec.provider:
            return spec.url
        return self._values.get(PROVIDERS[spec.provider].url_variable, spec.url)

    def scrub(self, text: str) -> str:
        """Returns the text with every known key replaced by ***.

        What is shorter than LEAST_KEY stands for no key, as OPENAI_API_KEY=none, and may be a word.
        """
        keys = {self._values[name] for name in self._secret if name in self._values}
        keys = {key for key in keys if len(key) >= LEAST_KEY}
        forms = keys | {urllib.parse.quote(key, safe="") for key in keys}
        for key in sorted(forms, key=len, reverse=True):  # a key may hold another
            text = text.replace(key, "***")
        return text


def key_variables(spec: ModelSpec) -> tuple[str, ...]:
    """Returns the variables of which one has to hold the model's key; empty: it needs none."""
    if spec.key_env:
        return (spec.key_env,)
    if spec.provider:
        return PROVIDERS[spec.provider].key_variables
    if urllib.parse.urlsplit(spec.url).hostname == "openrouter.ai":
        return PROVIDERS["openrouter"].key_variables
    return ()


# KEY=value, KEY = "value", KEY = 'value' # remark
_LINE = re.compile(
    r"""(?:export\s+)?(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'#]\S*)?)\s*(?:\#.*)?""", re.ASCII
)


def _read_secrets(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
                told = "expected a file of secrets that only its owner may read"
                raise InputError(f"{path}: {told}, got mode {stat.S_IMODE(mode):o}: chmod 600 it")
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        # The error of decoding would show a part of what is there.
        told = str(error.strerror) if isinstance(error, OSError) else "it is no text"
        raise InputError(f"{path}: expected a readable file of secrets: {told}") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            # What the line holds may be a key, so it is not shown.
            raise InputError(f"{path}, line {number}: expected KEY=value, got something else")
        found[match[1]] = match[2] or match[3] or match[4] or ""
    return found


# ---------------------------------------------------------------- what comes back


@dataclass(frozen=True)
class Reply:
    """What a model answered, and what that took."""

    text: str
    finished: bool  # False: cut at max_output_tokens, or held back by a filter
    input_tokens: int
    output_tokens: int  # with those of hidden reasoning
    seconds: float
    dollars: float | None  # None: the price is not known
    model: str  # the name of its ModelSpec


class Asking(NamedTuple):
    """What goes on with a request, for whoever watches."""

    state: Literal["asks", "waits", "ends"]
    role: str
    model: str
    experiment: int | None
    wait_seconds: float = 0.0  # until it is asked again
    why: str = ""  # it waits


class ProviderFailed(RunFailed):
    """A model refused for good, or did not answer after all retries."""


class Stopped(Exception):
    """The run is over: nobody waits for the answer any more."""


class TooLong(RunFailed):
    """The request does not fit into the model: a shorter one may."""

    def __init__(self, told: str, limit_tokens: int | None) -> None:
        super().__init__(told)
        self.limit_tokens = limit_tokens  # None: the answer did not say


class LanguageModels(Protocol):
    """Something that answers in the name of a model: a client, a recorder or a player."""

    def ask(
        self,
        spec: ModelSpec,
        system: str,
        prompt: str,
        *,
        role: str,
        max_output_tokens: int,
        experiment: int | None = None,
    ) -> Reply:
        """Returns the answer; raises InputError, TooLong, ProviderFailed, BudgetSpent, Stopped."""
        ...
