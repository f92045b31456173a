"""The options that `thread run` and `thread bench` have in common, and the settings that they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from thread_cli.assembly.config import Config, resolve
from thread_cli.assembly.models import KINDS
from thread_cli.display import Mode
from thread_cli.protocols.context import PHI, PSI

__all__ = [
    "ConfigFile",
    "Display",
    "GpuLayers",
    "Lora",
    "ModelSpec",
    "Override",
    "Phi",
    "Prompt",
    "Psi",
    "Temperature",
    "UnsafePython",
    "completes",
    "settings_of",
]


def completes(words: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Shell completion with the words that begin as what is typed."""
    return lambda incomplete: [word for word in words() if word.startswith(incomplete)]


ModelSpec = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="See `thread models`. Default: embedded, on this machine.",
        autocompletion=completes(lambda: [kind.spec.partition("[")[0] for kind in KINDS.values()]),
    ),
]
Prompt = Annotated[str | None, typer.Option("--prompt", "-p", help="A prompt's name (`thread prompts`) or file.")]
Phi = Annotated[str | None, typer.Option(help=f"ϕ, what a child is given: {', '.join(PHI)}.")]
Psi = Annotated[str | None, typer.Option(help=f"ψ, what its parent gets back: {', '.join(PSI)}.")]
Temperature = Annotated[float | None, typer.Option(help="Of sampling; 0 is greedy.")]
GpuLayers = Annotated[int | None, typer.Option(help="Layers of a local model on the GPU; -1 for all.")]
Lora = Annotated[list[Path] | None, typer.Option(help="LoRA adapter (GGUF) of a local model.")]
UnsafePython = Annotated[
    bool, typer.Option("--unsafe-python", help="Run data analysis unconfined where the kernel cannot confine it.")
]
Display = Annotated[
    str | None,
    typer.Option(help="auto, tree (redrawn), plain, json or none.", autocompletion=completes(lambda: get_args(Mode))),
]
ConfigFile = Annotated[Path | None, typer.Option(help="A TOML file with any of these settings.")]
Override = Annotated[
    list[str] | None, typer.Option("-o", metavar="KEY=VALUE", help="Any setting, such as limits.repeats=3.")
]


def settings_of(
    *,
    model: str | None,
    temperature: float | None,
    gpu_layers: int | None,
    lora: list[Path] | None,
    unsafe_python: bool,
    config: Path | None,
    override: list[str] | None,
    **others: Any,
) -> Config:
    """The configuration that the options make, with all its other sources; `others` are settings under their own names.

    Raises:
        UserError: a file cannot be read, a key does not exist, a value does not fit.
    """
    flags: dict[str, Any] = {
        "model": {"spec": model, "temperature": temperature, "gpu_layers": gpu_layers, "adapters": lora or None},
        "unsafe_python": unsafe_python or None,
        **others,
    }
    return resolve(flags, file=config, overrides=tuple(override or ()))
