"""`thread serve`: a local model for other programs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from thread_cli.assembly.config import ModelSpec
from thread_cli.cli.options import ConfigFile, GpuLayers, Lora, Override, Sets, settings_of
from thread_cli.cli.telling import tell
from thread_cli.contracts.errors import UserError
from thread_cli.distribution import remedy
from thread_cli.models.embedded import EMBEDDED

__all__ = ["serve"]


def serve(
    model: Annotated[str, typer.Argument(help="embedded[:base], llama:FILE, or a GGUF file's path.")] = EMBEDDED,
    *,
    host: Annotated[str, typer.Option(help="Address to listen at; others than loopback need a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8080,
    api_key: Annotated[
        str | None, typer.Option(help="What clients must send as their key.", envvar="THREAD_SERVE_KEY")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What clients call the model. Default: as MODEL.")] = None,
    context: Annotated[
        int | None, typer.Option(help="Tokens that the cache holds, of all calls together."), Sets("model.context")
    ] = None,
    gpu_layers: GpuLayers = None,
    lora: Lora = None,
    cpu_threads: Annotated[
        int | None, typer.Option(help="Default: one for each physical core."), Sets("model.cpu_threads")
    ] = None,
    config: ConfigFile = None,
    override: Override = None,
) -> None:
    """Serve a local model over HTTP, as OpenAI's API does, until Ctrl-C.

    Exit code: 2 the input is wrong, 4 the model does not run here or its process was killed, 130 interrupted.
    """
    spec = ModelSpec.of_this_machine(model)
    settings = settings_of(serve, locals(), model={"spec": spec.text}).model
    try:
        # Only here: the base install has no web server.
        from thread_cli.serve.server import serve as serve_model
    except ImportError as error:
        raise UserError(f"serving needs starlette and uvicorn ({error}): {remedy('serve')}") from None
    from thread_cli.assembly.models import open_model
    from thread_cli.models.llama import LlamaModel

    opened = open_model(settings, None, None, tell)
    if not isinstance(opened, LlamaModel):
        raise UserError(f"{settings.spec!r} is no model of this machine: serve embedded or llama:FILE.gguf")
    called = name or (Path(spec.rest).stem if spec.kind == "llama" else spec.text)

    def ready(url: str) -> None:
        print(f"serving {called} at {url}; Ctrl-C ends it", flush=True)

    asyncio.run(serve_model(opened, called, host=host, port=port, key=api_key or None, ready=ready))
