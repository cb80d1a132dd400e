"""flywheel: the console command. Every error that a user can mend is one line and exit status 2."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from iteration.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

EPILOG = """examples:
  flywheel run configs/quickstart.yaml               five rounds of expert iteration, about five minutes on two cores
  flywheel run configs/quickstart.yaml seed=1 run.dir=runs/seed1
  flywheel run configs/quickstart.yaml rounds=8      an existing run goes on (its finished work is never redone)
  flywheel compare configs/compare.yaml              searches against best-of-N at equal tokens, over three seeds
  flywheel status runs/quickstart                    what is done, from the folder alone
  flywheel why r00002/train/u00003/t005/n0002 --run runs/quickstart
  flywheel doctor runs/quickstart                    who waits for what
  flywheel stop runs/quickstart; flywheel resume runs/quickstart
  flywheel verify math answers.jsonl                 what a verifier makes of a file of answers
  flywheel regrade runs/quickstart --verifier exact  what another verifier would have said
  flywheel report runs/quickstart                    its curves and trees, as one HTML file; of two runs, side by side
  flywheel eval runs/quickstart/models/m00005 configs/coverage.yaml   test-time compute curves of any model, no training
  flywheel traces runs/quickstart --kept --to sft.jsonl   what was trained on, as chat-format data for others
  flywheel submit configs/quickstart.yaml --address http://127.0.0.1:8265
"""


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        prog="flywheel",
        description="Expert iteration: a model searches, a verifier judges, the next model learns from what was found.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = whole.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Verb)

    def as_json(verb: argparse.ArgumentParser) -> None:
        verb.add_argument("--json", action="store_true", help="JSON lines instead of text, for programs")

    def on_ray(verb: argparse.ArgumentParser) -> None:
        verb.add_argument("--address", default="", help="join this Ray cluster (auto or HOST:6379) instead of starting one")
        as_json(verb)

    def of_a_config(name: str, help: str, description: str, act: Callable) -> argparse.ArgumentParser:
        found = verbs.add_parser(name, help=help, description=description)
        found.add_argument("config", metavar="CONFIG", help="a YAML file, e.g. configs/quickstart.yaml")
        found.add_argument("options", nargs="*", metavar="KEY=VALUE", help="options that replace those of the file")
        found.set_defaults(act=act)
        return found

    run = of_a_config(
        "run",
        "start a run, or go on with it",
        "Start the run that CONFIG describes. The same command again goes on where the run folder ends, whatever was killed. "
        "KEY=VALUE replaces an option of the file, e.g. seed=1 train.lr=5e-4 search.n=16 task.last_level=7.",
        run_verb,
    )
    on_ray(run)
    of_a_config(
        "compare",
        "searches and ways to choose, side by side on held-out problems",
        "For each seed make a model by the run that CONFIG describes, then search the same held-out problems by every arm of "
        "its section `compare` at every budget of generated tokens, and print the tables (also RUN/tables.json). The same "
        "command again goes on where it ended.",
        compare_verb,
    )

    def about_a_run(name: str, help: str, description: str, act: Callable) -> argparse.ArgumentParser:
        found = verbs.add_parser(name, help=help, description=description)
        found.add_argument("run", metavar="RUN", help="a run folder, e.g. runs/quickstart")
        found.set_defaults(act=act)
        return found

    resume = about_a_run(
        "resume",
        "go on with a run, from its folder alone",
        "Go on where the folder ends, here or on another cluster. rounds=N may grow, placement.* may change.",
        resume_verb,
    )
    resume.add_argument("options", nargs="*", metavar="KEY=VALUE", help="e.g. rounds=8 placement.generators=4")
    on_ray(resume)
    about_a_run(
        "stop",
        "stop a run",
        "Ask the driver that works on RUN to stop: what is under way is committed or given up, and it exits with 75. "
        "`flywheel resume RUN` goes on.",
        stop_verb,
    )
    about_a_run(
        "doctor",
        "why a run stands still",
        "Who works on RUN, what is pending since when, which unit, problem and actor waits for what, and what was set aside; "
        "from the folder alone.",
        doctor_verb,
    )
    as_json(about_a_run("status", "what a run has done", "Read a run folder; no cluster is needed.", status_verb))

    evaluate = verbs.add_parser(
        "eval",
        help="measure any model on any task, by samples and by searches; nothing is trained",
        description="Answer a task's held-out problems with MODEL (a Hugging Face folder or id): measure.samples answers to "
        "each of measure.problems, and by every --search at every --budget. TASK is a config, whose task and verifier are "
        "taken, or the name of a task (then type verify=NAME too). The same command again goes on where it ended; it ends with "
        "a table and a report.",
    )
    evaluate.add_argument("model", metavar="MODEL", help="e.g. runs/quickstart/models/m00005")
    evaluate.add_argument("task", metavar="TASK", help="a config, e.g. configs/gsm8k.yaml, or a task, e.g. expressions")
    evaluate.add_argument("options", nargs="*", metavar="KEY=VALUE", help="e.g. measure.samples=64 measure.levels=[4]")
    evaluate.add_argument(
        "--search",
        action="append",
        default=[],
        metavar="NAME[:KEY=VALUE,...]",
        help="e.g. beam:keep=4,times=1000; may be repeated",
    )
    evaluate.add_argument(
        "--budget", action="append", type=int, default=[], metavar="TOKENS", help="generated for a problem; again for more"
    )
    evaluate.add_argument("--judge", default="", metavar="FOLDER", help="a value model, e.g. RUN/judges/j00003-process")
    on_ray(evaluate)
    evaluate.set_defaults(act=eval_verb)

    report = verbs.add_parser(
        "report",
        help="what a run found, as one HTML file; of two runs, side by side",
        description="Draw the report of RUN from its folder alone, into RUN/report.html: one file that needs nothing else. "
        "Every run draws its own at its end.",
    )
    report.add_argument("runs", nargs="+", metavar="RUN", help="one run folder, or several to compare")
    report.add_argument("--to", default="", metavar="FILE", help="where to write it (default: RUN/report.html)")
    report.add_argument(
        "--price", type=float, metavar="PRICE", help="of a device for an hour (default: report.price of the run)"
    )
    report.add_argument("--pictures", default="", metavar="FOLDER", help="also write each chart as an SVG file")
    report.set_defaults(act=report_verb)

    runs = verbs.add_parser("runs", help="a table of the runs in a folder", description="Every run in FOLDER, a line each.")
    runs.add_argument("folder", nargs="?", default="runs", metavar="FOLDER", help="(default: %(default)s)")
    as_json(runs)
    runs.set_defaults(act=runs_verb)

    traces = about_a_run(
        "traces",
        "page through a run's answers, or export them",
        "Print the answers of RUN that fit, newest round last; or write them with --to: Parquet or JSON lines with a column "
        "messages (chat-format SFT data, as TRL and others load it), prompt, completion, and what is known of each.",
        traces_verb,
    )
    traces.add_argument("--problem", default="", metavar="TEXT", help="a problem's id, or a part of its text")
    traces.add_argument("--state", choices=["correct", "wrong", "unparseable", "failed"], help="only these verdicts")
    traces.add_argument("--correct", action="store_const", const="correct", dest="state", help="short for --state correct")
    traces.add_argument("--kept", action="store_true", help="only what the filters kept for training")
    traces.add_argument("--round", type=int, metavar="N", help="only this round")
    traces.add_argument(
        "--split", default="train", metavar="NAME", help="train, or test: the held-out answers (default: train)"
    )
    traces.add_argument("--page", type=int, default=1, metavar="N", help="which page (default: %(default)s)")
    traces.add_argument("--to", default="", metavar="FILE", help="write them all: FILE.parquet or FILE.jsonl")

    why = verbs.add_parser(
        "why",
        help="one trace's whole story",
        description="Problem, round, model, unit, verdict, filter decision, training, and the model that it went into. "
        "Ids stand in the id column of RUN/traces/**/*.parquet.",
    )
    why.add_argument("trace", metavar="TRACE_ID", help="e.g. r00002/train/u00003/t005/n0002")
    why.add_argument("--run", default="", metavar="RUN", help="the run folder (default: the newest in runs/)")
    why.set_defaults(act=why_verb)

    verify = verbs.add_parser(
        "verify",
        help="try a verifier on a file of answers",
        description="Grade the answers in FILE (JSONL, Parquet or CSV; column answer, completion, response or output) and "
        "print a table. TASK is a config, whose task and verifier are taken, or the name of a verifier. A row is matched with "
        "its problem by the column id, else by prompt; where it has a column expected, that is its problem's answer.",
    )
    verify.add_argument("task", metavar="TASK", help="a config, e.g. configs/humaneval.yaml, or a verifier, e.g. math")
    verify.add_argument("file", metavar="FILE", help="answers, one a row")
    verify.add_argument("options", nargs="*", metavar="KEY=VALUE", help="e.g. task.test=HumanEval.jsonl.gz verify.partial=true")
    verify.add_argument(
        "--rows", type=int, default=20, metavar="N", help="rows that are shown; 0 for all (default: %(default)s)"
    )
    verify.set_defaults(act=verify_verb)

    regrade = about_a_run(
        "regrade",
        "judge a run's answers again, with another verifier",
        "Judge every stored answer of RUN by another or a newer verifier, generate nothing, and print what changed. Later "
        "rounds are trained on the new verdicts by: flywheel resume RUN verdicts=NAME verify.name=VERIFIER",
        regrade_verb,
    )
    regrade.add_argument("--verifier", required=True, metavar="NAME", help="e.g. math, replay, or mine.strict")
    regrade.add_argument(
        "options", nargs="*", metavar="KEY=VALUE", help="the verifier's options, e.g. read=boxed; and sandbox.*"
    )

    plan = of_a_config(
        "plan",
        "what goes where, and whether it fits, before anything starts",
        "Print which process holds what on which device, and the memory expected there. Exit status 1 where something does not "
        "fit. It reads the model's config only.",
        plan_verb,
    )
    plan.add_argument(
        "--gpu-gb", type=float, default=0.0, metavar="N", help="memory of a GPU (default: of the one that is here)"
    )

    metrics = verbs.add_parser(
        "metrics",
        help="how Prometheus and Grafana are pointed at runs",
        description="Say how Prometheus finds the metrics of runs, and what they are; write its config, alerts, a dashboard.",
    )
    metrics.add_argument("--to", default="", metavar="FOLDER", help="write prometheus.yml, alerts.yml and grafana.json there")
    metrics.set_defaults(act=metrics_verb)

    submit = of_a_config(
        "submit",
        "run a config as a job on a Ray cluster",
        "Submit the run as a Ray job, with this folder as its working folder, and follow its log. The job goes on when this "
        "terminal ends. Flywheel must be installed on the cluster's machines. lag=1 unless CONFIG says otherwise.",
        submit_verb,
    )
    submit.add_argument("--address", default="http://127.0.0.1:8265", help="the dashboard's address (default: %(default)s)")
    submit.add_argument("--no-wait", action="store_true", help="print the job's id and return")
    return whole


def options_help() -> str:
    """Every option with its default and what it means, read off the dataclasses of the parts."""
    import importlib
    import pkgutil

    from cluster.run import PACKAGES, Config
    from iteration.config import describe, part_class

    lines = ["options (KEY=VALUE), with their defaults:"]

    def add(part: type, prefix: str) -> None:
        for name, default, comment in describe(part):
            inner = next((field.default_factory for field in dataclasses.fields(part) if field.name == name), None)
            if dataclasses.is_dataclass(inner):
                add(inner, f"{prefix}{name}.")
            elif f"{prefix}{name}" not in [key.rstrip("*") for key in PACKAGES]:
                lines.append(f"  {f'{prefix}{name}={default}':<44} {comment}".rstrip())

    add(Config, "")
    for key, package in PACKAGES.items():
        kind = key.rstrip("*")
        for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
            lines.append(f"\nwith {kind}.name={found.name}:" if kind == key else f"\nwith filters: {{{found.name}: {{}}}}:")
            add(part_class(kind, package, found.name), f"{kind}." if kind == key else f"filters.{found.name}.")
    return "\n".join(lines) + "\n"


class Verb(argparse.ArgumentParser):
    """Its help ends with all options; they are looked up only when asked for."""

    def format_help(self) -> str:
        return super().format_help() + ("\n" + options_help() if self.prog.endswith(" run") else "")


def main(arguments: list[str] | None = None) -> int:
    whole = parser()
    known, rest = whole.parse_known_args(arguments)
    if any(word.startswith("-") or "=" not in word for word in rest) or (rest and not hasattr(known, "options")):
        whole.error(f"unrecognized arguments: {' '.join(rest)}")
    known.options = [*getattr(known, "options", []), *rest]  # KEY=VALUE may also stand behind --options
    # Parts of the user's own, in packages below this folder, are found here and in the actors.
    sys.path.insert(0, os.getcwd())
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    try:
        return known.act(known)
    except UserError as error:
        print(f"flywheel: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nflywheel: stopped; what is committed stays, and the same command goes on", file=sys.stderr)
        return 130


def quiet() -> None:
    """Keep the libraries of this process and of the actors from talking."""
    silent = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    for name, value in (silent | {"TRANSFORMERS_VERBOSITY": "error", "RAY_USAGE_STATS_ENABLED": "0"}).items():
        os.environ.setdefault(name, value)


def guarded(work: Callable[[], object], log: Path, again: str) -> int:
    """Run `work`. Returns the exit status: what a user cannot mend is one line too, and all of it in `log`."""
    from ray.exceptions import RayActorError, RayTaskError

    def stop(*_: object) -> None:
        raise asyncio.CancelledError

    signal.signal(signal.SIGTERM, stop)  # until the run has its own
    try:
        work()
        return 0
    except KeyboardInterrupt:  # said by `main`
        raise
    except asyncio.CancelledError:
        print(f"flywheel: stopped by SIGTERM; what is committed stays. Go on with: {again}", file=sys.stderr)
        return 75
    except BaseException as error:
        cause = first_cause(error)
        cause = cause.cause if isinstance(cause, RayTaskError) else cause
        if isinstance(cause, UserError):
            raise UserError(str(cause)) from None
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        what = "an actor died" if isinstance(cause, RayActorError) else type(cause).__name__
        said = (str(cause).strip().splitlines() or ["no message"])[0][:300]
        print(f"flywheel: {what}: {said} (all of it: {log})", file=sys.stderr)
        print(f"flywheel: what is committed stays; go on with: {again}", file=sys.stderr)
        return 1


def run_verb(known: argparse.Namespace) -> int:
    from cluster.run import Run, load

    again = " ".join(["./launch.sh run", known.config, *known.options])
    return turn(Run, load(known.config, known.options), known, again)


def resume_verb(known: argparse.Namespace) -> int:
    store = open_run(known.run)
    file, options = str(store.local("config.yaml")), [*known.options, f"run.dir={store.place}"]
    kind, config = kind_of(file, options)
    return turn(kind, config, known, f"./launch.sh resume {known.run}")


def kind_of(file: str, options: list[str]) -> tuple[type, DictConfig]:
    """(what runs it, the checked config): a run, a comparison or an evaluation, by its sections. Raises UserError."""
    from cluster.run import Run, load
    from cluster.verbs import compare
    from cluster.verbs import eval as evaluate
    from iteration.config import read

    sections = read(file)
    if "compare" in sections:
        return compare.Comparison, compare.read(file, options)
    if "eval" in sections:
        return evaluate.Evaluation, evaluate.read(file, options)
    return Run, load(file, options)


def turn(kind: type, config, known: argparse.Namespace, again: str) -> int:
    """Run what is left of a run. again: the command that goes on with it."""
    from cluster.view import End, JsonView, View, records

    began = time.monotonic()
    quiet()
    with (JsonView if known.json else View)(config.rounds) as view:
        run = kind(config, known.address, view)
        status = guarded(lambda: asyncio.run(run.turn()), run.store.root / "error.log", again)
    if status:
        return status
    here, there = Path.cwd(), Path(run.store.place)
    folder = str(there.relative_to(here)) if there.is_relative_to(here) else run.store.place
    try:
        report = draw({folder: run.store})
        shown = str(report.relative_to(here) if report.is_relative_to(here) else report)
    except Exception as error:  # the run is finished, whatever becomes of its picture
        log = run.store.root / "error.log"
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        shown = f"could not be drawn ({type(error).__name__}: {error}; all of it: {log}); try ./launch.sh report {folder}"
    done = records(run.store)
    view.over(End(folder, time.monotonic() - began, done[-1]["model_out"], shown, first_kept(run.store)), done)
    return 0


def draw(runs: dict, to: str = "", price: float | None = None) -> Path:
    """Write the report of runs, by the names of their folders, and show what is being done."""
    from rich.console import Console

    from cluster.report.gather import write

    command = " ".join(["./launch.sh report", *runs])
    with Console(stderr=True).status("report") as status:
        return write(runs, command, Path(to) if to else None, price, lambda what: status.update(f"report: {what}"))


def eval_verb(known: argparse.Namespace) -> int:
    from rich.console import Console

    from cluster.folder.place import store_at
    from cluster.report.gather import gather
    from cluster.verbs.eval import Evaluation, read, table, words

    file = known.task if known.task.endswith((".yaml", ".yml")) else ""
    given = words(known.model, known.task, known.search, known.budget, known.judge, known.options)
    config = read(file, given)
    again = " ".join(["./launch.sh", *sys.argv[1:]])
    status = turn(Evaluation, config, known, again)
    if not status and not known.json:
        Console(width=None if sys.stdout.isatty() else 140).print(table(gather(store_at(config.run.dir), config.run.dir)))
    return status


def report_verb(known: argparse.Namespace) -> int:
    from dataclasses import replace

    stores = {folder.rstrip("/"): open_run(folder) for folder in known.runs}
    path = draw(stores, known.to, known.price)
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB; one file, open it in a browser)")
    if known.pictures:
        from cluster.report.gather import gather
        from cluster.report.page import pictures

        for number, (folder, store) in enumerate(stores.items()):
            where = Path(known.pictures) / (Path(folder).name if number else "")
            drawn = pictures(replace(gather(store, folder), folder=folder), where)
            print(f"{len(drawn)} pictures in {where}")
    return 0


def runs_verb(known: argparse.Namespace) -> int:
    from rich.console import Console

    from cluster.verbs.listing import found_runs, runs_table

    found = found_runs(known.folder)
    if known.json:
        for each in found:
            print(json.dumps(asdict(each)))
    else:
        Console(width=None if sys.stdout.isatty() else 140).print(runs_table(found))
    return 0


def plan_verb(known: argparse.Namespace) -> int:
    from rich.console import Console

    from cluster.verbs.plan import show

    quiet()
    _, config = kind_of(known.config, known.options)
    return show(known.config, config, known.gpu_gb, Console(width=None if sys.stdout.isatty() else 120))


def metrics_verb(known: argparse.Namespace) -> int:
    from cluster.metrics import told, write

    if known.to:
        print("\n".join(f"wrote {path}" for path in write(Path(known.to))))
    else:
        print("\n".join(told()))
    return 0


def traces_verb(known: argparse.Namespace) -> int:
    from cluster.verbs.listing import Wanted, export, show

    wanted = Wanted(known.problem, known.state or "", known.kept, known.round, known.split)
    store = open_run(known.run)
    return export(store, wanted, Path(known.to)) if known.to else show(store, known.run, wanted, known.page)


def stop_verb(known: argparse.Namespace) -> int:
    from cluster.verbs.submit import stop

    return stop(open_run(known.run))


def doctor_verb(known: argparse.Namespace) -> int:
    from omegaconf import OmegaConf

    from cluster.verbs.doctor import examine

    store = open_run(known.run)
    print("\n".join(examine(store, OmegaConf.load(store.local("config.yaml")).rounds)))
    return 0


def compare_verb(known: argparse.Namespace) -> int:
    from rich.console import Console

    from cluster.folder.store import Store
    from cluster.verbs.compare import compare, read

    began = time.monotonic()
    folder = Store(read(known.config, known.options).run.dir).open().root
    quiet()
    again = " ".join(["./launch.sh compare", known.config, *known.options])
    console = Console(width=None if sys.stdout.isatty() else 180)
    status = guarded(lambda: compare(known.config, known.options, console), folder / "error.log", again)
    if not status:
        print(f"{(time.monotonic() - began) / 60:.1f} minutes; the tables lie in {folder}/tables.json")
    return status


def first_cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def first_kept(store) -> str:
    """A trace that was kept in the last round, as an example to look at."""
    for name in reversed(store.names("filters")):
        decisions = store.table(f"filters/{name.partition('.')[0]}", ["id", "reason"]).to_pylist()
        for row in decisions:
            if not row["reason"]:
                return row["id"]
    return ""


def open_run(folder: str):
    from cluster.folder.place import store_at

    store = store_at(folder)
    if "://" in folder:
        store.open()
    if not store.has("config", ".yaml"):
        raise UserError(f"{folder}: no run there (no config.yaml); expected a run folder, e.g. runs/quickstart")
    return store


def status_verb(known: argparse.Namespace) -> int:
    from omegaconf import OmegaConf
    from rich.console import Console

    from cluster.verbs.listing import under_way
    from cluster.view import records, rounds_table

    store = open_run(known.run)
    config = OmegaConf.load(store.local("config.yaml"))
    done, units = records(store), under_way(store)
    finished = sum(record["number"] > 0 for record in done)
    if known.json:
        driver = store.driver()
        told = {"name": config.name, "wanted": config.rounds, "finished": finished, "driver": driver and driver["who"]}
        print(json.dumps(told | {"under_way": [asdict(each) for each in units], "rounds": done}))
        return 0
    console = Console()
    console.print(
        f"{config.name}: {finished} of {max(finished, config.rounds)} rounds finished in {known.run}", highlight=False
    )
    for each in units:
        console.print(f"round {each.round}  {each.phase}: {each.committed} of {each.planned} units committed", highlight=False)
    if done:
        console.print(rounds_table(done))
    if finished < config.rounds:
        console.print(f"go on with: ./launch.sh resume {known.run}", highlight=False)
    return 0


def why_verb(known: argparse.Namespace) -> int:
    from cluster.verbs.why import story

    folder = known.run
    if not folder:
        found = sorted(Path("runs").glob("*/config.yaml"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise UserError("no run in runs/; type --run RUN")
        folder = str(found[-1].parent)
    print("\n".join(story(open_run(folder), known.trace)))
    return 0


def verify_verb(known: argparse.Namespace) -> int:
    from cluster.verbs.verify import verify

    return verify(known.task, known.file, known.options, known.rows)


def regrade_verb(known: argparse.Namespace) -> int:
    from cluster.verbs.verify import regrade_run

    return regrade_run(open_run(known.run), known.run, known.verifier, known.options)


def submit_verb(known: argparse.Namespace) -> int:
    if (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # before Ray is imported; unlike ray.init, jobs do not look for it

    from cluster.verbs.submit import submit

    return submit(known.config, known.options, known.address, follow=not known.no_wait)


if __name__ == "__main__":
    sys.exit(main())
