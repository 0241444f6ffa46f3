"""The commands: they wire the rest together and decide nothing."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator import api
from orchestrator.report.wording import counted
from orchestrator.single import commands as single
from orchestrator.single.options import SkipBad
from orchestrator.study import StudySpec, load_studies
from tasks.errors import InputError

app = typer.Typer(
    name="augury",
    help="Does synthetic data, or an augmentation, make my image classifier better?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Studies = Annotated[
    list[str], typer.Argument(metavar="STUDY...", help="A path, or a bundled study.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a setting, such as train.epochs=10."),
]
Smoke = Annotated[bool, typer.Option("--smoke", help="Shrink the study to seconds.")]
Store = Annotated[str, typer.Option("--store", metavar="URI", help="A folder, or s3://, gs://.")]
TrackingUri = Annotated[
    str | None,
    typer.Option("--tracking-uri", metavar="URI", help="MLflow; a SQLite file where not given."),
]
FORMATS = {"md": "markdown", "csv": "csv", "json": "json", "html": "html", "tex": "latex"}
KINDS = (
    "datasets, generators, editors, filters, augmentations, classifiers, companions, metrics, "
    "extractors, measures or studies."
)
COMPLETE, USER_ERROR, INCOMPLETE, INTERRUPTED = 0, 2, 3, 130


@app.command()
def plan(
    studies: Studies,
    overrides: Overrides = None,
    smoke: Smoke = False,
    store: Store = api.DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what a run would do, without doing it."""
    from orchestrator import outline

    planned = api.plan(_load(studies, overrides, smoke), store)
    print(outline.as_json(planned) if as_json else outline.as_text(planned))


@app.command()
def run(
    studies: Studies,
    overrides: Overrides = None,
    smoke: Smoke = False,
    store: Store = api.DEFAULT_STORE,
    tracking_uri: TrackingUri = None,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="ADDR", help="A Ray cluster; else this machine."),
    ] = None,
    num_workers: Annotated[
        int | None, typer.Option("--num-workers", min=1, help="Steps at once; else one a core.")
    ] = None,
    gpus: Annotated[
        bool | None,
        typer.Option("--gpus/--no-gpus", help="Wait for GPUs, or use none; else those there are."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed steps again.")
    ] = False,
) -> None:
    """Do what is not done yet; the table at the end. Ctrl-C lets running steps finish."""
    from orchestrator.report.documents import text

    options = api.RunOptions(
        tracking_uri=tracking_uri,
        address=address,
        num_workers=num_workers,
        gpus=gpus,
        retry_failed=retry_failed,
    )
    result = api.run(_load(studies, overrides, smoke), store, options, _display)
    for each in result.results:
        print(text(each))
    if not result.is_complete:
        _say_incomplete(result)
        raise typer.Exit(INCOMPLETE)


def _display(steps: Any, clock: Any) -> Any:
    from orchestrator.display import BarDisplay, PlainDisplay

    return (BarDisplay if sys.stderr.isatty() else PlainDisplay)(steps, clock)


def _say_incomplete(result: api.RunResult) -> None:
    planned = result.planned
    missing = planned.plan.unique - planned.num_finished
    lines = [f"incomplete: {missing} of {planned.plan.unique} trials are not finished"]
    here = {study.spec.name for study in planned.plan.studies}
    for study in planned.plan.studies:
        if study.awaits:
            also = "finished" if study.awaits in here else "run too"
            lines.append(f"study {study.spec.name} needs study {study.awaits} {also}")
    lines += result.losses
    if planned.failed:
        them = "it" if len(planned.failed) == 1 else "them"
        lines.append(
            f"{counted(len(planned.failed), 'step')} failed; --retry-failed runs {them} again"
        )
    elif not any(study.awaits for study in planned.plan.studies):
        lines.append("run the same command again to go on")
    print("; ".join(lines), file=sys.stderr)


@app.command()
def report(
    studies: Studies,
    overrides: Overrides = None,
    smoke: Smoke = False,
    store: Store = api.DEFAULT_STORE,
    form: Annotated[
        str, typer.Option("--format", metavar="md|csv|json|html|tex", help="Of the report.")
    ] = "md",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write files there instead.")
    ] = None,
) -> None:
    """Turn the records into tables, figures and a page; nothing is run."""
    from orchestrator.report import write

    if form not in FORMATS:
        raise InputError(f"--format {form}: unknown; choose from {', '.join(FORMATS)}")
    if form == "html" and out is None:
        raise InputError("--format html: give --out DIR, where the page is to be written")
    _check_there(store)
    results = api.report(_load(studies, overrides, smoke), store, sheets=form == "html")
    if out is None:
        render = write.FORMATS[FORMATS[form]][1]
        print("\n".join(render(result).rstrip("\n") for result in results))
        return
    for result in results:
        folder = out / result.name if len(results) > 1 else out
        try:
            for file in write.write_report(result, folder, [FORMATS[form]]).files:
                print(file)
        except OSError as error:
            raise InputError(f"--out {out}: cannot be written ({error})") from error


@app.command()
def status(store: Store = api.DEFAULT_STORE) -> None:
    """Say how far each study of a store is."""
    _check_there(store)
    studies = api.stored_studies(store)
    if not studies:
        print(f"{store} holds no study yet; start one with: augury run quickstart")
    for study in studies:
        planned = api.plan([study], store)
        if planned.plan.placeholders:
            print(f"{study.name}: {planned.plan.placeholders[0]} is not there")
            continue
        failed = f", {counted(len(planned.failed), 'step')} failed" if planned.failed else ""
        print(
            f"{study.name}: {planned.num_finished} of {planned.plan.unique} trials finished{failed}"
        )


@app.command()
def sync(
    studies: Annotated[
        list[str] | None, typer.Argument(metavar="[STUDY...]", help="All of the store, if none.")
    ] = None,
    overrides: Overrides = None,
    smoke: Smoke = False,
    store: Store = api.DEFAULT_STORE,
    tracking_uri: TrackingUri = None,
) -> None:
    """Bring what the store knows to MLflow; safe to repeat."""
    from orchestrator.tracking import TrackingUnavailable

    _check_there(store)
    chosen = _load(studies, overrides, smoke) if studies else api.stored_studies(store)
    if not chosen:
        print(f"{store} holds no study yet; start one with: augury run quickstart")
        return
    try:
        done = api.sync(chosen, store, tracking_uri)
    except TrackingUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    print(f"{done.num_runs} runs, {done.num_created} of them new; {done.num_points} points added")


@app.command()
def ui(
    store: Store = api.DEFAULT_STORE,
    tracking_uri: TrackingUri = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open MLflow on the runs of a store, until Ctrl-C."""
    from orchestrator.ledger import Ledger
    from orchestrator.tracking import UI_ENVIRONMENT, ui_command

    uri = api.tracking_address(Ledger(store), tracking_uri)
    if not (tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")):
        _check_there(store)
    try:
        command = ui_command(uri, host, port)
    except ValueError as error:
        raise InputError(f"--tracking-uri: {error}") from error
    print(f"MLflow on http://{host}:{port}", flush=True)
    # In our place, so that whoever stops this command stops the server.
    os.execve(command[0], command, {**UI_ENVIRONMENT, **os.environ})


@app.command()
def inspect(
    name: Annotated[
        str, typer.Argument(metavar="DATASET", help="A name, or a folder of class folders.")
    ],
    root: Annotated[
        str | None, typer.Option("--root", metavar="DIR", help="Where its files are.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another setting of it, as in a study."),
    ] = None,
    skip_bad: SkipBad = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE.png", help="Draw images of each class.")
    ] = None,
) -> None:
    """Say what a dataset holds; every image is read once."""
    from orchestrator import inspected, inspection

    dataset = inspection.named(name, root, overrides or (), skip_bad=skip_bad)
    with inspection.progress() as watch:
        found = inspection.inspect(dataset, watch, sheet)
    print(inspected.as_json(found) if as_json else inspected.as_text(found))


single.mount(app)


@app.command("list")
def list_names(
    what: Annotated[str, typer.Argument(metavar="KIND", help=KINDS)],
) -> None:
    """List what a study can name."""
    from orchestrator import catalogue

    print(catalogue.listing(what))


@app.command()
def schema() -> None:
    """Print the JSON schema of a study file, for editors."""
    from orchestrator.schema import study_schema

    print(json.dumps(study_schema(), indent=2))


@app.command()
def doctor(store: Store = api.DEFAULT_STORE, tracking_uri: TrackingUri = None) -> None:
    """Say what is missing on this machine, and how to mend it."""
    from orchestrator.doctor import examine

    findings = examine(store, tracking_uri)
    for finding in findings:
        print(f"{'ok  ' if finding.is_fine else 'MEND'} {finding.what}: {finding.says}")
    if not all(finding.is_fine for finding in findings):
        raise typer.Exit(1)


def _load(studies: list[str], overrides: list[str] | None, smoke: bool) -> list[StudySpec]:
    return load_studies(studies, overrides or (), smoke)


def _check_there(store: str) -> None:
    """Refuse a folder that is not there, where a command only reads what others put into one."""
    from orchestrator.ledger import Ledger

    local = Ledger(store).local
    if local is not None and not local.exists():
        place = "" if store == api.DEFAULT_STORE else f" --store {store}"
        raise InputError(
            f"there is no store at {store}; name one by --store, or begin it with: "
            f"augury run quickstart{place}"
        )


def _usage(error: Any) -> str:
    """What is wrong with a command line, and where its help is."""
    said = " ".join(error.format_message().split()).rstrip(".").replace("Input should", "it should")
    context = getattr(error, "ctx", None)
    # An option without its value is refused before its command is known to the error.
    commands: Any = typer.main.get_command(app)
    named = [word for word in sys.argv[1:2] if word in commands.commands]
    path = context.command_path if context else " ".join(["augury", *named])
    return f"{said}; see `{path} --help`"


def main() -> None:
    """Run a command; what the user can mend is one line and exit code 2."""
    try:
        code = app(prog_name="augury", standalone_mode=False)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = USER_ERROR
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        print(f"error: {_usage(error)}", file=sys.stderr)
        code = getattr(error, "exit_code", USER_ERROR)
    if code == INTERRUPTED:
        print("stopped; what was finished is kept, run the same command to go on", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else COMPLETE)
