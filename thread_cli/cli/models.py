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
from thread_cli.models.registry import KINDS

__all__ = ["app"]

app = typer.Typer(invoke_without_command=True)
_PATHS = {"vnni": "AVX-512 VNNI", "amx": "AMX and AVX-512 VNNI"}


@app.callback()
def models(context: typer.Context) -> None:
    """List the kinds of models, how --model names them, and what is missing."""
    if context.invoked_subcommand:
        return
    rows = [(kind.spec, "no" if kind.missing else "yes", kind.description) for kind in KINDS.values()]
    remedies = {name: kind.remedy for name, kind in KINDS.items() if kind.missing}
    print_table(("--model", "installed", "what it is"), rows, remedies)
    if not KINDS["llama"].missing:
        _print_local()


def _print_local() -> None:
    """Tell of our own kernels, and of the formats that have been tried here."""
    from thread_cli.models.llama.accelerator import KNOWN, missing
    from thread_cli.models.llama.door import Door, checked

    reason = missing()
    faults = checked() if reason is None else {}
    usable = next((path for path, fault in faults.items() if not fault), None)
    if usable is not None:
        print(f"\nOur own kernels for local models: in use, by {_PATHS[usable]}")
        print(f"They compute weights in {', '.join(KNOWN)}; others are computed by llama.cpp.")
    else:
        reason = reason or next(iter(faults.values()))
        print(f"\nOur own kernels for local models: not in use, {reason}; llama.cpp computes everything.")
    for path, fault in faults.items():
        if fault and usable is not None:
            print(f"Not by {_PATHS[path]}: {fault}")
    tried = Door().known()
    if tried:
        print("\nFormats of weights that have been tried on this machine, each when a model first had it:")
        rows = [(each.kind, "yes" if each.wanted_kernels else "no", str(each)) for each in tried]
        print_table(("weights/architecture", "our kernels", "what was found"), rows)


@app.command("prepare")
def prepare(
    model: Annotated[str, typer.Argument(help="A GGUF file, embedded, or embedded:base.")],
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

    Exit code: 2 the input is wrong, 4 it does not run here or its process was killed, 130 interrupted.
    """
    # Only here: other commands need none of it.
    from thread_cli.models.llama.prepare import prepare as prepared

    path = None if model in {EMBEDDED, BASE} else at_home(Path(model.removeprefix("llama:")))
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


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
