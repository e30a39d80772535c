"""An agent outside as the researcher: what it is told, and what becomes of the program it wrote.

Several agents may work on one store at once. A program that two submit at the same time is
examined once; the baselines are measured by whoever comes first; each experiment gets its number
as it is written. While a run has the store, nothing can be submitted.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from move37 import devices
from move37.history import History
from move37.knowledge.retrieval import Library
from move37.loop import Lab, Plan, Watch, brief_of, discover, read, try_one
from move37.presets import Preset
from move37.records import Brief, InputError, Lesson, Measured, Proposal, Record
from move37.research.answers import Answer, Unusable, read_answer
from move37.research.briefing import document, proposal_of
from move37.research.composer import Composer
from move37.research.syntax import fingerprint, parse
from move37.results import find
from move37.search.fitness import Form, form_of
from move37.store.store import Claim, Store
from move37.web.report import report_name, report_title, write_report

AGENT = "agent"
TAKEN = ("baseline", "composer", "imported")  # origins of programs that no agent wrote
LONGEST_NAME = 80
MOST_BYTES = 200_000


@dataclass(frozen=True)
class Task:
    """The next experiment of a store, and its brief as Markdown."""

    experiment: int  # a later one, if others are quicker
    parent: str | None  # candidate id
    baselines_due: int
    measuring: tuple[str, ...]  # what others have submitted and is not measured yet
    brief: str


class Submitted(NamedTuple):
    """An experiment as it was kept, and all that the store holds."""

    records: list[Record]
    lesson: Lesson
    everything: list[Record]
    form: Form

    @property
    def measured(self) -> bool:
        """Says whether it has a fitness."""
        return isinstance(self.records[-1].outcome, Measured)


class Words(NamedTuple):
    """What an agent says beside its program; None or "" is left to the answer that holds it."""

    motivation: str = ""
    name: str = ""
    parent: str = ""  # id, number or name of an experiment
    agent: str = AGENT


def next_task(preset: Preset, path: Path, *, seed: int | None = None) -> Task:
    """Returns the next experiment of a store, which is read only and need not be there yet.

    Another `seed` than the store's draws another parent and other references.
    """
    history = History()
    claims: list[Claim] = []
    settings: dict[str, Any] = {}
    if path.exists():
        with Store.open(path, write=False) as store:
            settings = store.settings()
            store.check_settings(plan_of(preset, settings).settings)
            history, claims = read(store), store.claims()
    plan = plan_of(preset, settings)
    plan = plan if seed is None else replace(plan, seed=seed)
    done, baselines = history.experiments, len(preset.baselines)
    number = max(done, baselines) + len(claims)
    due = max(0, baselines - done)
    cold = Brief(number, 0, "", None, references=(), lessons=(), failures=())
    brief = cold if due else brief_of(plan, number, history)
    measuring = tuple(claim.name for claim in claims)
    text = document(brief, preset.budgets[0].model, Library())
    head = _head(number, brief.parent, due, measuring, preset.warnings)
    parent = brief.parent.candidate.id if brief.parent else None
    return Task(number, parent, due, measuring, f"{head}\n\n{text}")


def _head(
    number: int,
    parent: Record | None,
    due: int,
    measuring: Sequence[str],
    warnings: Sequence[str],
) -> str:
    identity = parent.candidate.id if parent else ""
    told = [
        f"Experiment {number}, the parent is {parent.candidate.proposal.name}, id {identity}."
        if parent
        else f"Experiment {number}, without a parent.",
    ]
    if due:
        told.append(
            f"{due} baselines are not measured yet: they come first. The first submit measures "
            "them, or `move37 run --experiments 1` does."
        )
    if measuring:
        told.append(f"Others are measuring {', '.join(measuring)}: propose something else.")
    told += warnings
    option = f" --parent {identity}" if parent else ""
    told.append(
        f"Hand the answer, or its program with `--motivation TEXT`, in with the command\n"
        f"`move37 submit FILE{option}` and the same --preset and --store, or with the tool "
        "`submit`."
    )
    return "\n".join(told)


def plan_of(preset: Preset, settings: dict[str, Any]) -> Plan:
    """Returns the plan of the baselines, with what a run or a submit was started with here."""
    form = form_of(str(settings.get("fitness", "noise")))
    seed, device = int(settings.get("seed", 0)), str(settings.get("device", "cpu"))
    share = float(settings.get("share of the judge", 0.0))
    return Plan(preset, len(preset.baselines), seed, device=device, form=form, judge_share=share)


def place_of(preset: Preset, store: Path | None) -> Path:
    """Returns where the store lies; the default place's folder is made."""
    if store is None:
        store = preset.default_store
        try:
            store.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {store.parent}: {error.strerror}") from None
    return store


def submit(
    preset: Preset,
    path: Path,
    text: str,
    words: Words,
    lab: Lab,
    watch: Watch = lambda experiment, name, stage: None,
) -> Submitted:
    """Takes a program through an experiment, after the baselines; keeps and returns it.

    Raises InputError, and records nothing, if text, words or store cannot be used, or the same
    program is being measured already.
    """
    parent = _parent(path, words.parent) if words.parent else None
    proposal = read_program(text, words, parent)
    with Store.open(path, create=True) as store:
        store.share()
        plan = plan_of(preset, store.settings())
        store.check_settings(plan.settings)
        devices.require(plan.device)
        with store.claim(fingerprint(proposal.source), proposal.name):
            with store.starting():
                store.keep_settings(plan.settings)
                for _ in discover(plan, Composer(), lab, store, watch):
                    pass  # the composer is not asked: the plan ends with the baselines
            history = read(store)
            records, lesson = try_one(plan, proposal, parent, lab, history, watch)
            records, lesson = store.append_next(records, lesson)
        return Submitted(records, lesson, store.records(), plan.form)


def renew_report(preset: Preset, path: Path) -> Path:
    """Writes the report beside a store anew, from all that the store holds; returns its path.

    Several processes may do so at once: whoever writes looks afterwards whether the store has
    grown meanwhile, so the last page that is written is of the last experiment. Raises RunFailed
    if the disk does not take it.
    """
    with Store.open(path, write=False) as store:
        plan = plan_of(preset, store.settings())
        while True:
            history = read(store)
            written = write_report(
                path.parent,
                records=history,
                lessons=history.lessons,
                title=report_title(preset.name, plan.seed),
                form=plan.form,
                name=report_name(path),
            )
            if len(store.records()) == len(history):
                return written


def _parent(path: Path, identity: str) -> Record:
    """Returns the last program of an experiment; raises InputError if it is not there."""
    with Store.open(path, write=False) as store:
        records = store.records()
    number = find(records, identity)
    return [record for record in records if record.experiment == number][-1]


def read_program(text: str, words: Words, parent: Record | None = None) -> Proposal:
    """Returns what a Python file, or an answer in Markdown, proposes; raises InputError.

    What Python can parse, and has a class, is the program as it is.
    """
    if words.agent in TAKEN or not _is_line(words.agent):
        raise InputError(
            f"expected the agent's name in one line, and none of {', '.join(TAKEN)}; "
            f"got {words.agent!r}"
        )
    for what, said in (("program", text), ("motivation", words.motivation), ("name", words.name)):
        if any("\ud800" <= letter <= "\udfff" for letter in said):
            raise InputError(f"the {what} holds half a character (a lone surrogate): write UTF-8")
    if len(text.encode()) > MOST_BYTES:
        raise InputError(f"the program has more than {MOST_BYTES:,} bytes: write one mixer only")
    name = _class_in(text)
    if name is None:
        _refuse_what_does_not_parse(text)
        source = parent.candidate.proposal.source if parent else None
        try:
            answer = read_answer(text, parent=source)
        except Unusable as error:
            raise InputError(f"no program can be read: {error}") from None
    else:
        answer = Answer(name, "", text)
    motivation = words.motivation.strip() or answer.motivation.strip()
    if not motivation:
        raise InputError("expected a `motivation` (why it may help), got none: give one")
    name = words.name or answer.name
    if not _is_line(name):
        raise InputError(
            f"expected a name in one line of at most {LONGEST_NAME} characters, got {name!r}"
        )
    return proposal_of(replace(answer, name=name, motivation=motivation), words.agent)


def _refuse_what_does_not_parse(text: str) -> None:
    """Raises InputError for Python that does not parse: Markdown, which it may be, has a fence."""
    program = parse(text)
    begins = text.lstrip().startswith(("import ", "from ", "class ", "def ", '"""'))
    if isinstance(program, SyntaxError) and begins and "```" not in text:
        raise InputError(f"the program does not parse: line {program.lineno}: {program.msg}")


def _is_line(text: str) -> bool:
    return bool(text.strip()) and text.isprintable() and len(text) <= LONGEST_NAME


def _class_in(text: str) -> str | None:
    """Returns the name of the last public class of a program; None if it is none."""
    program = parse(text)
    if isinstance(program, SyntaxError):
        return None
    classes = [node.name for node in program.tree.body if isinstance(node, ast.ClassDef)]
    found = [name for name in classes if not name.startswith("_")] or classes
    return found[-1] if found else None
