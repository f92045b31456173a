"""`thread models`: how models are named, and preparing local ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from thread_cli.cli.listing import print_table
from thread_cli.cli.options import GpuLayers
from thread_cli.config import at_home
from thread_cli.models.embedded import BASE, EMBEDDED
from thread_cli.models.registry import KINDS, Kind, local_file

__all__ = ["app"]

app = typer.Typer(invoke_without_command=True)


@app.callback()
def models(context: typer.Context) -> None:
    """List the kinds of models, how --model names them, and what is missing."""
    if context.invoked_subcommand:
        return
    rows = [(kind.spec, "no" if kind.missing else "yes", _told(kind)) for kind in KINDS.values()]
    remedies = {name: kind.remedy for name, kind in KINDS.items() if kind.missing}
    print_table(("--model", "installed", "what it is"), rows, remedies)
    if not KINDS["llama"].missing:
        from thread_cli.models.llama.accelerator import missing

        reason = missing()
        print(f"\nOur own kernels for local models: {'in use' if reason is None else f'not in use, {reason}'}")


@app.command("prepare")
def prepare(
    model: Annotated[str, typer.Argument(help="A GGUF file, hf:OWNER/REPO[:QUANT], embedded, or embedded:base.")],
    *,
    adapter: Annotated[
        list[Path] | None, typer.Option(help="LoRA adapter (GGUF) to merge into the weights; may be repeated.")
    ] = None,
    quant: Annotated[
        str, typer.Option(help="auto measures which format runs fastest here; or a format such as q8_0; or none.")
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, help="CPU threads. Default: one for each physical core.")
    ] = None,
    gpu_layers: GpuLayers = None,
    force: Annotated[bool, typer.Option("--force", help="Measure and make it anew.")] = False,
) -> None:
    """Bring a local model into the format that runs fastest on this machine, and print the path of the file.

    Exit code: 2 the input is wrong, 130 interrupted.
    """
    # Only here: other commands need none of it.
    from thread_cli.models.llama.prepare import prepare as prepared

    path = None if model in {EMBEDDED, BASE} else local_file(model.removeprefix("llama:"), _tell)
    print(
        prepared(
            path,
            _tell,
            adapters=[at_home(each) for each in adapter or ()],
            quant=quant,
            threads=threads,
            gpu_layers=gpu_layers or 0,
            base=model == BASE,
            force=force,
        )
    )


def _told(kind: Kind) -> str:
    return f"{kind.description}. Plays {kind.knows}" if kind.knows else kind.description


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
