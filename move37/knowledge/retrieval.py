"""What the literature knows, found by meaning: the entries whose trigger fits a weakness."""

import functools
import logging
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Entry:
    """One published idea, and when to think of it."""

    id: str
    title: str
    authors: str
    year: int
    arxiv: str
    trigger: str  # the weakness that makes the idea worth trying
    background: str
    insight: str
    algorithm: str
    components: tuple[str, ...]  # "gene:value" words of the offline researcher


class Embedder(Protocol):
    """Texts to unit vectors, (texts, size)."""

    def embed(self, texts: Sequence[str]) -> np.ndarray: ...


class StaticEmbedder:
    """Word vectors that ship with `wordllama`, averaged: no model to run, no download."""

    @functools.cached_property
    def _model(self) -> Any:
        # Imported late: half a second that most commands never need. It would let every library
        # of the process log to the terminal.
        root = logging.getLogger()
        level, handlers = root.level, list(root.handlers)
        import wordllama

        root.setLevel(level)
        root.handlers[:] = handlers

        folder = Path(wordllama.__file__).parent  # the default path misses the packaged weights
        return wordllama.WordLlama.load(cache_dir=folder, disable_download=True)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Returns one unit vector per text."""
        return np.asarray(self._model.embed(list(texts), norm=True))


@functools.cache
def entries() -> tuple[Entry, ...]:
    """Returns all packaged entries, by id; raises ValueError for one that is malformed."""
    found = []
    for file in resources.files("move37.knowledge").joinpath("entries").iterdir():
        if file.name.endswith(".toml"):
            data = tomllib.loads(file.read_text(encoding="utf-8"))
            try:
                found.append(Entry(**data | {"components": tuple(data["components"])}))
            except (TypeError, KeyError) as error:
                raise ValueError(f"knowledge entry {file.name}: {error}") from None
    return tuple(sorted(found, key=lambda entry: entry.id))


class Library:
    """The entries, ready to be asked."""

    def __init__(self, embedder: Embedder | None = None) -> None:
        self._embedder = embedder or StaticEmbedder()
        self._order = functools.lru_cache(maxsize=256)(self._find)  # weaknesses come again

    @functools.cached_property
    def _triggers(self) -> np.ndarray:
        return self._embedder.embed([entry.trigger for entry in entries()])

    def nearest(self, weakness: str, count: int) -> list[Entry]:
        """Returns the entries whose triggers are nearest in meaning, best first."""
        return [entries()[i] for i in self._order(weakness)[:count]]

    def _find(self, weakness: str) -> list[int]:
        nearness = self._triggers @ self._embedder.embed([weakness])[0]
        # Rounded, with ties by id: the last bits of a sum differ between machines.
        return sorted(range(len(nearness)), key=lambda i: (-round(float(nearness[i]), 5), i))
