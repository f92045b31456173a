"""`thread envs`: which environments there are, checking an adapter, and setting up its data."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated

import typer
from rich.console import Console

from thread_cli.assembly.config import Config, resolve
from thread_cli.assembly.environments import Broken, Installed, find, installed, names
from thread_cli.cli.exits import of_checks, of_error
from thread_cli.cli.interruption import Terminated, interruptible
from thread_cli.cli.listing import print_table
from thread_cli.cli.telling import tell
from thread_cli.contracts.environment import SetsUp
from thread_cli.contracts.errors import UserError
from thread_cli.display.layout import Glyphs
from thread_cli.display.render import glyphs_for
from thread_cli.display.state import Phase
from thread_cli.display.text import clean
from thread_cli.interpreters.variables import described

__all__ = ["app"]

app = typer.Typer(invoke_without_command=True)


def _completed(incomplete: str) -> list[str]:
    return [name for name in names() if name.startswith(incomplete)]


_Name = Annotated[
    str,
    typer.Argument(
        help="See `thread envs`.",
        autocompletion=_completed,
    ),
]


@app.callback()
def environments(context: typer.Context) -> None:
    """List the environments, their sets of tasks, and missing packages."""
    if context.invoked_subcommand:
        return
    found = installed()
    remedies = {each.name: each.remedy for each in found if isinstance(each, Installed) and each.missing}
    print_table(
        ("environment", "installed", "tasks", "what they are"), (row for each in found for row in _rows(each)), remedies
    )
    print(f"\nThe Python of threads: {described()}")


@app.command("check")
def check(
    name: _Name,
    *,
    override: Annotated[
        list[str] | None,
        typer.Option("-o", metavar="KEY=VALUE", help="A setting, such as seed=3 or options.data=PATH."),
    ] = None,
) -> None:
    """Put an adapter to the conformance suite.

    Exit code: 0 all checks that apply are passed, 1 some fail, 2 the input is wrong, 130 interrupted.
    """
    settings = resolve({"environment": name}, overrides=tuple(override or ()))
    try:
        failed = asyncio.run(interruptible(_checked(settings)))
    except Terminated as end:
        raise typer.Exit(of_error(end)) from None
    raise typer.Exit(of_checks(failed))


@app.command("setup")
def setup(name: _Name) -> None:
    """Download an environment's data to where it looks for them."""
    found = find(name)
    if found.missing:
        raise UserError(f"{name} needs {', '.join(found.missing)}: {found.remedy}")
    if not issubclass(found.adapter, SetsUp):
        raise UserError(f"{name} has nothing to set up: it can be played as it is")
    print(found.adapter.setup(tell))


def _rows(found: Installed | Broken) -> list[tuple[str, str, str, str]]:
    if isinstance(found, Broken):
        return [(found.name, "broken", "", found.error)]
    there = "no" if found.missing else "yes"
    rows = [("", "", split, about) for split, about in found.adapter.splits.items()]
    return [(found.name, there, *row[2:]) if place == 0 else row for place, row in enumerate(rows)]


async def _checked(settings: Config) -> list[str]:
    """Check and tell; returns the names of the checks that failed."""
    from thread_cli.conformance.environments import check

    signs = _signs(glyphs_for(Console()))
    counts: Counter[str] = Counter()
    failed: list[str] = []
    options = {"seed": settings.seed, **settings.options}
    async for verdict in check(settings.environment, options, unsafe_python=settings.unsafe_python):
        counts[verdict.outcome] += 1
        failed += [verdict.check] * (verdict.outcome == "failed")
        why = f": {clean(verdict.why)}" if verdict.why else ""
        print(f"{signs[verdict.outcome]} {verdict.check}{why}", flush=True)
    others = counts["does not apply"]
    parts = [f"{counts['passed']} passed"]
    parts += [f"{len(failed)} failed ({', '.join(failed)})"] * bool(failed)
    parts += [f"{others} {'does' if others == 1 else 'do'} not apply"] * bool(others)
    print(f"{settings.environment}: {', '.join(parts)}")
    return failed


def _signs(glyphs: Glyphs) -> dict[str, str]:
    return {"passed": glyphs.phases[Phase.done], "failed": glyphs.phases[Phase.failed], "does not apply": "-"}
