"""The command line: one file per command, and the one place where errors become a line; `exits.py` chooses exit codes.

Exit codes: 0 the task is solved (or nothing judges it), 1 it is not, 2 the input is wrong, 4 the infrastructure failed
(model, environment, interpreter, log; also where a signal killed the process, see `main.py`), 130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from importlib.metadata import version
from typing import Annotated

import typer

from thread_cli.cli import bench, data, environments, models, prompts, replay, report, run, serve, show, train
from thread_cli.cli.exits import of_error
from thread_cli.contracts.errors import ThreadFailure, UserError
from thread_cli.distribution import NAME

__all__ = ["app", "main"]

app = typer.Typer(
    name="thread",
    help="Run agents that think by recursive spawning, and watch the tree of threads grow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run.run)
app.command("bench")(bench.bench)
app.command("report")(report.report)
app.command("data")(data.data)
app.command("show")(show.show)
app.command("serve")(serve.serve)
app.command("replay")(replay.replay)
app.add_typer(environments.app, name="envs")
app.add_typer(models.app, name="models")
app.add_typer(train.app, name="train")
app.command("prompts")(prompts.prompts)


def _version(wanted: bool) -> None:
    if wanted:
        print(version(NAME))
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[  # noqa: ARG001 - typer calls `_version`
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option(help="Show the trace of an error.", envvar="THREAD_DEBUG")] = False,
) -> None:
    """Start with `thread run textcraft`: a small model on this machine plays a crafting task."""
    os.environ["THREAD_DEBUG"] = "1" if debug else ""


def main() -> None:
    """Run a command; whatever goes wrong ends in one line on stderr and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app()
    except KeyboardInterrupt as interruption:
        sys.exit(of_error(interruption))
    except UserError as error:
        _give_up(error, error.message)
    except ThreadFailure as failure:
        _give_up(failure, f"{failure.kind}: {failure.message}")
    except BrokenPipeError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(of_error(error))
    except OSError as error:
        _give_up(error, f"{error.filename or 'the output cannot be written'}: {error.strerror or error}")
    except Exception as error:  # noqa: BLE001 - the last resort
        _give_up(
            error, f"{type(error).__name__}: {error} (a fault of thread itself; `thread --debug …` shows the trace)"
        )


def _give_up(error: Exception, message: str) -> None:
    if os.environ.get("THREAD_DEBUG"):
        traceback.print_exception(error)
    print(f"thread: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(of_error(error))
