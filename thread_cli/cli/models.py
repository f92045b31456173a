"""`thread models`: how models are named, and preparing local ones."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from thread_cli.assembly.config import ModelConfig, ModelSpec, at_home, resolve
from thread_cli.assembly.models import KINDS, Kind, api_model, local_file, open_model
from thread_cli.cli.exits import of_checks, of_error
from thread_cli.cli.interruption import Terminated, interruptible
from thread_cli.cli.listing import print_table
from thread_cli.cli.options import GpuLayers, Override
from thread_cli.cli.telling import tell
from thread_cli.contracts.errors import ThreadFailure, UserError
from thread_cli.display.text import clean
from thread_cli.models.embedded import BASE
from thread_cli.models.retry import Transient

__all__ = ["app"]

app = typer.Typer(invoke_without_command=True)
_PATHS = {"vnni": "AVX-512 VNNI", "amx": "AMX and AVX-512 VNNI"}


@app.callback()
def models(
    context: typer.Context,
    *,
    probe: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Ask openai:NAME[@URL] what it takes and tells, and print that.")
    ] = None,
    override: Override = None,
) -> None:
    """List the kinds of models, how --model names them, and missing packages.

    Exit code: 2 the input is wrong, 4 the probed model cannot be used, 130 interrupted.
    """
    if context.invoked_subcommand:
        return
    if probe is not None:
        raise typer.Exit(_interruptible(_probed(_settings(probe, override))))
    rows = [(kind.spec, "no" if kind.missing else "yes", _description(kind)) for kind in KINDS.values()]
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


@app.command("check")
def check_model(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="As --model names it.")],
    *,
    override: Override = None,
) -> None:
    """Put a backend to the conformance suite.

    Exit code: 0 all checks that apply are passed, 1 some fail, 2 the input is wrong, 130 interrupted.
    """
    raise typer.Exit(_interruptible(_checked(_settings(spec, override))))


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

    Exit code: 2 the input is wrong, 4 it does not run here or its process was killed, 130 interrupted.
    """
    # Only here: other commands need none of it.
    from thread_cli.models.llama.prepare import prepare as prepared

    spec = ModelSpec.of_this_machine(model)
    path = local_file(spec, tell) if spec.kind == "llama" else None
    print(
        prepared(
            path,
            tell,
            adapters=[at_home(each) for each in adapter or ()],
            quant=quant,
            threads=threads,
            gpu_layers=gpu_layers or 0,
            base=spec.text == BASE,
            force=force,
        )
    )


def _settings(spec: str, override: list[str] | None) -> ModelConfig:
    return resolve({"model": {"spec": spec}}, overrides=tuple(override or ())).model


def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    try:
        return asyncio.run(interruptible(work))
    except Terminated as end:
        return of_error(end)


async def _probed(settings: ModelConfig) -> int:
    from thread_cli.models.probe import probed

    if settings.named.kind != "openai":
        raise UserError(f"only servers are probed: write openai:NAME@URL, not {settings.spec!r}")
    model = api_model(settings)
    try:
        async for name, found in probed(model):
            print(f"{name + ':':<24}{clean(found)}", flush=True)
    except (Transient, ThreadFailure) as failure:
        print(f"thread: {clean(failure.message)}", file=sys.stderr)
        return of_error(failure)
    finally:
        await model.close()
    return 0


async def _checked(settings: ModelConfig) -> int:
    from thread_cli.conformance.models import check

    failed: list[str] = []
    passed = 0
    async for verdict in check(lambda: open_model(settings, None, None, tell), longest=await _longest(settings)):
        passed += verdict.outcome == "passed"
        failed += [verdict.check] * (verdict.outcome == "failed")
        sign = {"passed": "ok", "failed": "FAILED", "does not apply": "-"}[verdict.outcome]
        print(f"{sign:<7}{verdict.check}" + (f": {clean(verdict.why)}" if verdict.why else ""), flush=True)
    more = f", {len(failed)} failed ({', '.join(failed)})" if failed else ""
    print(f"{settings.spec}: {passed} passed{more}")
    return of_checks(failed)


async def _longest(settings: ModelConfig) -> int | None:
    """Tokens that the model can read, where that is known before."""
    from thread_cli.models.llama import LlamaModel

    if settings.named.kind == "openai":
        model = api_model(settings)
        try:
            return await model.context()
        finally:
            await model.close()
    opened = open_model(settings, None, None, tell)
    try:
        return (await opened.describe()).longest if isinstance(opened, LlamaModel) else None
    finally:
        await opened.close()


def _description(kind: Kind) -> str:
    return f"{kind.description}. Plays {kind.knows}" if kind.knows else kind.description
