"""The command line: parses, calls, prints. Nothing here computes, and nothing imports torch."""

import contextlib
import inspect
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from move37 import __version__, devices, interrupts, limits, streams
from move37.records import Audited, InputError, Level, RunFailed, fields_of, to_data

if TYPE_CHECKING:
    from move37.asking import Words
    from move37.history import History
    from move37.lab.client import Lab

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Discovers neural sequence mixers: proposes, proves, trains, compares, learns.",
)

NO_VALUE = ""  # the metavar of a flag; typer would show <bool>

PresetOption = Annotated[str, typer.Option("--preset", metavar="NAME", help="laptop, smoke.")]
StoreOption = Annotated[
    Path | None,
    typer.Option("--store", metavar="FILE", help="Store file; else below runs/."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", metavar=NO_VALUE, help="Print JSON instead of text.")
]
SeedOption = Annotated[int, typer.Option(min=0, metavar="N", help="Seeds the search.")]
DeviceOption = Annotated[str, typer.Option(metavar="NAME", help="cpu or cuda.")]
SandboxOption = Annotated[
    str,
    typer.Option(
        "--sandbox", metavar="NAME", help="default or strict (all layers).", show_default=False
    ),
]
FitnessOption = Annotated[str, typer.Option(metavar="NAME", help="noise or paper.")]
store_app = typer.Typer(no_args_is_help=True, help="Look after a store file.")
app.add_typer(store_app, name="store")
ModelsPanel = "Language models (else the offline composer proposes)"  # fits into 60 columns


def main() -> None:
    """Runs the command line; the exit status says how it ended.

    0 done, 1 the run has shown nothing or a check failed, 2 the input cannot be used, a model
    cannot be reached, or the machine lacks what is needed, 130 stopped.
    """
    interrupts.catch()
    try:
        safe = streams.take()
    except InputError as error:
        _fail(str(error), 2)
    status = _status()
    safe.flush()  # what is left in a buffer may be what does not fit on the disk
    raise SystemExit(2 if safe.output_failed else status)


def _status() -> int:
    """Runs the command that was typed; returns its exit status."""
    from move37.lab.client import LabError

    _join_lines_of_help(app)
    try:
        limits.check_address_space()
        app(standalone_mode=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except InputError as error:
        return _complain(str(error), 2)
    except RunFailed as error:
        return _complain(str(error), 1)
    except LabError as error:
        return _complain(str(error), 2)
    except MemoryError:
        return _complain("the memory of this machine, or its limit (`ulimit -v`), is used up", 2)
    return 0


def _join_lines_of_help(commands: typer.Typer) -> None:
    """Makes each paragraph of each command's help one line, which typer then wraps.

    Typer keeps the line ends of a docstring after its first paragraph.
    """
    for command in commands.registered_commands:
        paragraphs = inspect.getdoc(command.callback or main) or ""
        command.help = "\n\n".join(text.replace("\n", " ") for text in paragraphs.split("\n\n"))
    for group in commands.registered_groups:
        if group.typer_instance is not None:
            _join_lines_of_help(group.typer_instance)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(__version__)  # noqa: T201
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar=NO_VALUE,
            is_eager=True,
            callback=_print_version,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """The options of the program itself."""


def _complain(message: str, status: int) -> int:
    """Prints a sentence on standard error; returns the exit status."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    console.print(f"move37: {message}", style="red", soft_wrap=True)
    return status


def _fail(message: str, status: int) -> NoReturn:
    raise SystemExit(_complain(message, status))


def _print_json(data: object) -> None:
    print(json.dumps(to_data(data), indent=1))  # noqa: T201


@app.command()
def run(
    preset: PresetOption = "laptop",
    store: StoreOption = None,
    experiments: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Proposals; else the preset's.")
    ] = None,
    seed: SeedOption = 0,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="At a time.")] = 2,
    device: DeviceOption = "cpu",
    fitness: FitnessOption = "noise",
    sandbox: SandboxOption = "default",
    as_json: JsonOption = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="PROVIDER:NAME or URL#NAME; several too.",
            rich_help_panel=ModelsPanel,
        ),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(
            "--models",
            metavar="FILE",
            help="The same from a TOML file.",
            rich_help_panel=ModelsPanel,
        ),
    ] = None,
    secrets: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File of KEY=value lines.", rich_help_panel=ModelsPanel),
    ] = None,
    max_dollars: Annotated[
        float | None,
        typer.Option(metavar="USD", help="Spend no more.", rich_help_panel=ModelsPanel),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(metavar="N", help="Use no more, in and out.", rich_help_panel=ModelsPanel),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Keep all exchanges here.", rich_help_panel=ModelsPanel
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Answer from these, ask nobody.", rich_help_panel=ModelsPanel
        ),
    ] = None,
    judge_share: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="The judge's part of the judgement, 0 to 1.",
            rich_help_panel=ModelsPanel,
            show_default=False,
        ),
    ] = 0.0,
) -> None:
    """Measure the baselines, then propose, prove, train and compare new mixers.

    Started again, a stopped or killed run goes on where it was.
    """
    from move37 import asking

    words = asking.Words(
        model or (), models, secrets, max_dollars, max_tokens, record, replay, judge_share
    )
    _session(preset, store, experiments, seed, workers, device, fitness, sandbox, as_json, words)


@app.command()
def step(
    preset: PresetOption = "laptop",
    store: StoreOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    fitness: FitnessOption = "noise",
    sandbox: SandboxOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Run one experiment, and tell its five steps: sample, propose, verify, train, analyse.

    In an empty store the baselines are measured first.
    """
    _session(preset, store, None, seed, 2, device, fitness, sandbox, as_json, None)


def _session(
    preset: str,
    store: Path | None,
    experiments: int | None,
    seed: int,
    workers: int,
    device: str,
    fitness: str,
    sandbox: str,
    as_json: bool,
    words: "Words | None",
) -> None:
    # Imported late: `move37 --help` and `move37 top` need none of it.
    from move37 import asking, presets, session
    from move37.loop import read
    from move37.research.ledger import BudgetSpent
    from move37.research.models import ProviderFailed

    plan = session.make_plan(
        presets.preset(preset),
        proposals=experiments,
        seed=seed,
        workers=workers,
        device=device,
        fitness=fitness,
        judge_share=words.judge_share if words else 0.0,
    )
    strict = _strict(sandbox)
    limits.check_lab(0 if device == "cuda" else plan.preset.limit_bytes)
    said = words or asking.Words()
    console = Console(stderr=as_json)
    new = not (store or plan.preset.default_store).exists()
    with contextlib.ExitStack() as stack:
        if new:  # before anything is written
            devices.require(device)
            _reach(said, console)
        opened = stack.enter_context(session.open_store(plan, store))
        history = read(opened, judge_share=plan.judge_share)
        if not new and (words is None or history.experiments < plan.experiments):
            devices.require(device)
            _reach(said, console)
        work = session.Session(plan, opened, history, as_json=as_json, strict=strict, words=said)
        team = stack.enter_context(
            asking.team(said, plan.preset, opened, history, seed=seed, tell=work.asked)
        )
        try:
            if words is None:
                work.step()
            else:
                work.run(team, team)
        except KeyboardInterrupt:
            _fail(session.interrupted(work.plan, opened), 130)
        except (BudgetSpent, ProviderFailed) as error:
            raise RunFailed(f"{error}\n{session.stopped(work.plan, opened)}") from None


def _reach(words: "Words", console: Console) -> None:
    """Tells which of the models that are named may not answer; raises InputError if one cannot."""
    from move37 import asking

    for told in asking.doubts(words):
        console.print(told, style="yellow", highlight=False, markup=False, soft_wrap=True)


@app.command()
def top(
    preset: PresetOption = "laptop",
    store: StoreOption = None,
    fitness: FitnessOption = "noise",
    as_json: JsonOption = False,
) -> None:
    """Show the leaderboard, baselines marked."""
    from move37 import terminal
    from move37.presets import warnings_for
    from move37.search.fitness import form_of
    from move37.search.leaderboard import leaderboard

    form = form_of(fitness)
    records = _read(preset, store)
    rows, warnings = leaderboard(records, form), warnings_for(records)
    console = Console()
    if as_json:
        _print_json([fields_of(row) | {"warnings": warnings} for row in rows])
    elif not rows:
        console.print("Nothing to rank yet: the baselines are not measured.")
    else:
        console.print(terminal.leaderboard_page(rows, warnings, width=console.width))


@app.command()
def show(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id, experiment number, or name.")],
    preset: PresetOption = "laptop",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one experiment: motivation, program, checks, curves, lesson, lineage."""
    from move37.results import find

    history = _read(preset, store)
    _show(history, find(history, identity), as_json)


def _show(history: "History", number: int, as_json: bool) -> None:
    from move37 import experiments, terminal

    shown = experiments.gather(history, number)
    if as_json:
        row, judgement = shown.row, shown.judgement
        _print_json(
            fields_of(shown)
            | {"row": fields_of(row) if row else None}
            | {"judgement": fields_of(judgement) if judgement else None}
        )
    else:
        Console().print(terminal.experiment_page(shown))
        print(shown.last.candidate.proposal.source)  # noqa: T201  as it is, to be copied


@app.command()
def tree(
    preset: PresetOption = "laptop", store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """Show who descends from whom."""
    from move37 import terminal
    from move37.presets import warnings_for
    from move37.search.leaderboard import leaderboard

    records = _read(preset, store)
    rows, warnings = leaderboard(records), warnings_for(records)
    if as_json:
        last = {record.experiment: record for record in records}
        fitness = {row.id: row.fitness for row in rows}
        _print_json(
            [
                {
                    "id": record.candidate.id,
                    "name": record.candidate.proposal.name,
                    "experiment": record.experiment,
                    "parents": record.parents,
                    "outcome": type(record.outcome).__name__,
                    "fitness": fitness.get(record.candidate.id),
                    "warnings": warnings,
                }
                for record in last.values()
            ]
        )
    else:
        console = Console()
        console.print(terminal.lineage_tree(records, rows))
        for warning in warnings:
            console.print(terminal.warning_text(warning))


@app.command()
def costs(
    preset: PresetOption = "laptop", store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """Show what the language models of a run have cost, by role and model."""
    from move37 import presets, terminal
    from move37.research.ledger import costs as costs_of
    from move37.research.team import unread
    from move37.store.store import Store

    path = store or presets.preset(preset).default_store
    with Store.open(path, write=False) as opened:
        rows = costs_of(opened.calls())
        useless = [*unread(opened.records()), *opened.fallbacks()]
    useless.sort(key=lambda one: one.experiment)
    if as_json:
        _print_json(
            {
                "costs": [fields_of(row) for row in rows],
                "answers_of_no_use": [fields_of(one) for one in useless],
            }
        )
    elif rows:
        console = Console(highlight=False)
        console.print(terminal.costs_table(rows), soft_wrap=True)
        for doubt in dict.fromkeys(doubt for row in rows for doubt in row.doubts):
            console.print(f"A count that was not believed: {doubt}.", soft_wrap=True, markup=False)
        if useless:
            console.print(terminal.fallbacks_list(useless), soft_wrap=True)
    else:
        print("No language model was asked.")  # noqa: T201


@app.command()
def lessons(
    preset: PresetOption = "laptop", store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """Show what each experiment taught, newest last."""
    from move37 import terminal
    from move37.presets import warnings_for

    records = _read(preset, store)
    learnt, warnings = records.lessons, warnings_for(records)
    if as_json:
        _print_json([fields_of(lesson) | {"warnings": warnings} for lesson in learnt])
        return
    names = {record.experiment: record.candidate.proposal.name for record in records}
    console = Console()
    for lesson in learnt:
        console.print(Text(f"{lesson.experiment:>4}  {names[lesson.experiment]}", style="bold"))
        below_name = (0, 0, 0, 6)
        console.print(Padding(Text(lesson.text), below_name))
        console.print(Padding(Text(f"Next: {lesson.weakness}", style="dim"), below_name))
    for warning in warnings:
        console.print(terminal.warning_text(warning))


@app.command()
def mixers(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show the source of this one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the published mixers of the library: recurrence, paper, state, cost.

    With a name or a usual abbreviation (GLA, KDA): its import, constructor, file and source.
    """
    from move37 import terminal
    from move37.catalogue import catalogue, find

    if as_json:
        told = [
            fields_of(entry) | {"import": entry.import_line, "path": entry.path}
            for entry in (catalogue() if name is None else [find(name)])
        ]
        _print_json(told if name is None else told[0] | {"source": find(name).source})
    elif name is None:
        console = Console(highlight=False)
        width = console.width if console.is_terminal else None  # a file has room
        console.print(terminal.mixer_list(catalogue(), width), soft_wrap=True)
    else:
        entry = find(name)
        for line in (entry.import_line, entry.constructor, entry.path):
            print(f"# {line}")  # noqa: T201
        print(entry.source, end="")  # noqa: T201  as it is, to be copied


@app.command()
def verify(
    target: Annotated[
        str,
        typer.Argument(
            metavar="FILE[:CLASS]",
            help="A Python file and the mixer in it; of several files in a folder, FOLDER:CLASS.",
        ),
    ],
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="CHECK", help="This check; also A,B.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            min=1,
            metavar="SECONDS",
            help="For loading and all checks: 600, with --quick 120.",
        ),
    ] = None,
    dim: Annotated[int, typer.Option(min=1, metavar="N", help="Model width.")] = 64,
    heads: Annotated[int, typer.Option(min=1, metavar="N", help="Heads.")] = 4,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", metavar=NO_VALUE, help="The quick level, as before every training."
        ),
    ] = False,
    sandbox: SandboxOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Prove or refute what a sequence mixer has to be: causal, sub-quadratic, trainable, ...

    The file runs in a child process with limits of time and memory (4 GiB). A check that is not
    offered is neither passed nor failed. Exit status 0: some check passed, and no other failed; 1:
    some check failed, or the time ran out, or nothing asked for is offered; 2: it could not be run.
    """
    from move37 import auditing, terminal

    started = time.monotonic()
    aim = auditing.target_of(target)
    audit = auditing.make_audit(
        aim,
        only=only or (),
        level="quick" if quick else "full",
        width=dim,
        heads=heads,
        limit_seconds=timeout,
    )
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    page = terminal.AuditPage(console, audit, aim.name)
    # What is going on stands below the rows, where they go to a terminal.
    below = console if console.is_terminal and not as_json else errors
    done = list[str]()

    def tell(so_far: Audited) -> None:
        done[:] = [check.check for check in so_far.checks]
        if not as_json:
            page.tell(so_far)

    try:
        with (
            _lab(sandbox, errors, audit.limit_bytes) as lab,
            below.status("starting the lab ...") as status,
        ):
            outcome = auditing.verify(
                audit, aim.file, lab, lambda stage: status.update(Text(stage)), tell
            )
    except KeyboardInterrupt:  # the lab is closed, and has ended all that it had started
        count = f"{len(done)} of {len(audit.checks)} checks"
        _fail(f"stopped after {count}: the processes of {aim.file} are ended", 130)
    if as_json:
        _print_json(
            {"file": str(aim.file), "mixer": outcome.mixer or None, "passed": outcome.passed}
            | {"level": audit.level, "width": dim, "heads": heads}
            | {"printed_lines": outcome.printed_lines}
            | {"checks": [fields_of(check) for check in outcome.checks]}
        )
    else:
        page.end(outcome, time.monotonic() - started)
    if not outcome.passed:
        raise SystemExit(1)


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON: name, program, motivation.")],
    name: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="NAME", help="The program of this name; repeatable."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="CHECK", help="This check; also A,B.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", metavar=NO_VALUE, help="The full level of each check.")
    ] = False,
    train: Annotated[
        bool,
        typer.Option("--train", metavar=NO_VALUE, help="Train what passes, beside the baselines."),
    ] = False,
    every_check: Annotated[
        bool,
        typer.Option(
            "--all",
            metavar=NO_VALUE,
            help="Every check of every program, also after one fails: a table.",
        ),
    ] = False,
    preset: PresetOption = "laptop",
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="FILE", help="Store file; else one per collection."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Examinations at a time.")] = 2,
    sandbox: SandboxOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Take in a collection of programs: verify each, train them if asked, keep what came of it.

    FILE is a JSON list of objects with name, program and motivation. A program that is refused is
    a result, not an error. With --all the table of programs and checks is printed as Markdown, and
    with --json as JSON; sizes and limits are those of `move37 verify`. The same command goes on
    where it was stopped; a file with other content, or other checks, have a store of their own.
    Exit status 0: some program passed (with --train: was measured); 1: none; 2: the file cannot be
    used.
    """
    from move37 import auditing, importing, presets, terminal
    from move37.search.leaderboard import leaderboard
    from move37.store.store import Store
    from move37.web.report import report_name, write_report

    if train and (only or full):
        raise InputError("--train goes with all checks at the quick level, as a run does")
    if train and every_check:
        raise InputError("--all verifies and trains nothing: leave out --train, or --all")
    known = presets.preset(preset)
    collection = importing.Collection.read(file, only=name or ())
    checks = auditing.checks_of(only or ())
    level: Level = "full" if full else "quick"
    path = store or importing.default_store(
        collection,
        known,
        only=checks if only else (),
        level=level,
        trained=train,
        audited=every_check,
    )
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    # Beside a table, or JSON of a table, everything else goes to the other stream.
    side = errors if every_check else console
    needed = auditing.LIMIT_BYTES if every_check else known.limit_bytes
    with _lab(sandbox, errors, needed) as lab, Store.open(path, create=True) as opened:
        opened.lock()
        opened.keep_settings(
            importing.settings(
                collection, known, checks=checks, level=level, trained=train, audited=every_check
            )
        )
        if train:
            records = importing.train(collection, known, lab, opened, workers=workers)
        else:
            go_through = importing.audit if every_check else importing.verify
            records = go_through(
                collection, known, lab, opened, checks=checks, level=level, workers=workers
            )
        before = opened.records()
        streams_records = as_json and not every_check
        if streams_records:
            for record in before:
                print(json.dumps(to_data(record)))  # noqa: T201
        elif before:
            told = f"{len(before)} records are in {path} already"
            side.print(told, soft_wrap=True, markup=False)
        try:
            for record in records:
                if streams_records:
                    print(json.dumps(to_data(record)))  # noqa: T201
                else:
                    line = terminal.import_line(record)
                    if side.is_terminal:
                        side.print(line, no_wrap=True, overflow="ellipsis")
                    else:  # a file has room
                        side.print(line, soft_wrap=True)
            stopped = False
        except KeyboardInterrupt:
            stopped = True
        kept, lessons = opened.records(), opened.lessons()
    title, report = f"move37 import {file.name}", report_name(path)
    page = write_report(path.parent, records=kept, lessons=lessons, title=title, name=report)
    if stopped:
        told = f"{len(kept)} records are kept in {path}"
        _fail(f"stopped: {told}; the same command goes on from there", 130)
    summary, warnings = importing.Summary.of(kept), presets.warnings_for(kept)
    where = f"Store   {path}\nReport  {page}\nNext    move37 show ID --store {path}"
    if every_check:
        table = importing.CheckTable(title, level, checks, tuple(kept))
        if as_json:
            _print_json(table.data() | {"summary": fields_of(summary), "store": str(path)})
        else:
            print(table.markdown(console.width if console.is_terminal else None), end="")  # noqa: T201
        errors.print(where, soft_wrap=True, markup=False)
    elif as_json:
        last = {"summary": fields_of(summary), "warnings": list(warnings)}
        print(json.dumps(last))  # noqa: T201
    else:
        if rows := leaderboard(kept):
            console.print(terminal.leaderboard_page(rows, warnings, width=console.width))
            console.print()
        console.print(f"{summary.told()}\n{where}", soft_wrap=True, markup=False)
    if not summary.passed:
        raise SystemExit(1)


@app.command()
def brief(
    preset: PresetOption = "laptop",
    store: StoreOption = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Draw another parent.", show_default="the store's seed"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print what the next program is to be, for an agent of yours that is to write it."""
    from move37 import agents, presets

    known = presets.preset(preset)
    task = agents.next_task(known, store or known.default_store, seed=seed)
    if as_json:
        _print_json(fields_of(task))
    else:
        print(task.brief, end="")  # noqa: T201  as it is, to be read by an agent


@app.command()
def submit(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A Python file or an answer in Markdown; - reads.")
    ],
    motivation: Annotated[
        str, typer.Option(metavar="TEXT", help="Why it may help; an answer says it itself.")
    ] = "",
    name: Annotated[
        str,
        typer.Option(metavar="NAME", help="Its name.", show_default="the answer's or the class's"),
    ] = "",
    parent: Annotated[
        str, typer.Option(metavar="ID", help="What it descends from: id, number or name.")
    ] = "",
    preset: PresetOption = "laptop",
    store: StoreOption = None,
    agent: Annotated[str, typer.Option(metavar="NAME", help="Who wrote it.")] = "agent",
    sandbox: SandboxOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Take a program through an experiment: novelty, checks, training, lesson. Keep the result.

    In an empty store the baselines are measured first. Several may submit at once. Exit status 0:
    it was measured, 1: it was refused or crashed, and that is kept; 2: nothing was recorded.
    """
    from move37 import agents, presets
    from move37.history import History

    known = presets.preset(preset)
    text = _text_of(file)
    words = agents.Words(motivation, name, parent, agent)
    console = Console(stderr=True, highlight=False, emoji=False)
    begun = set[str]()

    def watch(_: int, mixer: str, stage: str) -> None:
        status.update(Text(f"{mixer}: {stage}" if mixer else stage))
        if not console.is_terminal and mixer and mixer not in begun:  # a status is for terminals
            begun.add(mixer)
            console.print(f"measuring {mixer}", markup=False, soft_wrap=True)

    try:
        with (
            _lab(sandbox, console, known.limit_bytes) as lab,
            console.status("starting the lab ...") as status,
        ):
            place = agents.place_of(known, store)
            done = agents.submit(known, place, text, words, lab, watch)
    except KeyboardInterrupt:
        _fail("stopped: nothing of the program is recorded; the same command starts again", 130)
    history = History(done.everything, [done.lesson])
    _show(history, done.records[-1].experiment, as_json)
    report = agents.renew_report(known, place)
    console.print(f"report {report}", markup=False, soft_wrap=True)
    if not done.measured:
        raise SystemExit(1)


def _text_of(file: str) -> str:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{file} is not UTF-8 text: expected a Python file or Markdown") from None


@app.command()
def mcp(
    preset: PresetOption = "laptop", store: StoreOption = None, sandbox: SandboxOption = "default"
) -> None:
    """Serve brief, submit, top, show, lessons and verify to a coding agent (MCP over stdio)."""
    from move37 import agents, auditing, presets, serving

    known = presets.preset(preset)
    errors = Console(stderr=True, highlight=False)
    with _lab(sandbox, errors, auditing.LIMIT_BYTES) as lab:
        try:
            serving.serve(known, agents.place_of(known, store), lab)
        except KeyboardInterrupt:
            raise SystemExit(130) from None


@store_app.command(name="check")
def store_check(
    preset: PresetOption = "laptop", store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """Look at every row of a store: which are changed, cut off, missing, or cannot be read?

    Exit status 0: all is as it was written; 1: something is not; 2: the file cannot be read. A
    store of an older version has no checksums for its rows, which is said, and is no fault.
    """
    from move37 import presets
    from move37.store.store import Store

    path = store or presets.preset(preset).default_store
    with Store.open(path, write=False) as opened:
        report = opened.check()
    if as_json:
        found = {"store": str(path), "fine": not report.damages}
        _print_json(found | fields_of(report))
    else:
        console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
        for damage in report.damages:
            console.print(damage.message, style="red")
        console.print(f"{path}: {report.description}")
    if report.damages:
        raise SystemExit(1)


@app.command()
def doctor(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="MODEL", help="A language model to reach, as for `run`."),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option("--models", metavar="FILE", help="The same from a TOML file."),
    ] = None,
    secrets: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File of KEY=value lines.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that everything a run needs is here. Exit status 1 if something is not."""
    from move37.asking import Words
    from move37.doctor import examine

    findings = examine(Words(model or (), models, secrets))
    if as_json:
        _print_json([fields_of(finding) for finding in findings])
    else:
        table = Table.grid(padding=(0, 1))
        for one in findings:
            fine = Text("ok", "green") if one.sure else Text("look", "yellow")
            mark = fine if one.fine else Text("bad", "red")
            table.add_row(mark, one.what, Text(one.told))
        Console().print(table)
    if not all(finding.fine for finding in findings):
        raise SystemExit(1)


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)  # noqa: T201


def _strict(sandbox: str) -> bool:
    if sandbox not in ("default", "strict"):
        raise InputError(f"unknown sandbox {sandbox!r}: expected default or strict")
    return sandbox == "strict"


def _lab(sandbox: str, console: Console, examination_bytes: int) -> "Lab":
    from move37.lab.client import Lab

    limits.check_lab(examination_bytes)
    return Lab(strict=_strict(sandbox), warn=lambda text: console.print(text, style="yellow"))


def _read(preset: str, path: Path | None) -> "History":
    from move37 import presets
    from move37.loop import read
    from move37.store.store import Store

    with Store.open(path or presets.preset(preset).default_store, write=False) as store:
        return read(store)


if __name__ == "__main__":
    main()
