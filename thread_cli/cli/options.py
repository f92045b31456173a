"""Options and arguments of the command line that set something in the configuration.

Each is declared once, where its parameter is annotated: its names, its help text, its type, and by `Sets`
which setting it sets. What several commands share is declared here. `settings_of` reads the declarations back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from thread_cli.assembly.config import Config, resolve
from thread_cli.assembly.models import KINDS
from thread_cli.assembly.watchers import names as watcher_names
from thread_cli.display import Mode
from thread_cli.protocols.context import PHI, PSI
from thread_cli.protocols.formats import FORMATS

__all__ = [
    "Branches",
    "ConfigFile",
    "Display",
    "GpuLayers",
    "Lora",
    "MaxParallel",
    "Model",
    "Override",
    "Phi",
    "Prompt",
    "Protocol",
    "Psi",
    "Sets",
    "Temperature",
    "UnsafePython",
    "Watch",
    "completes",
    "settings_of",
]


@dataclass(frozen=True, slots=True)
class Sets:
    """Which setting of `Config` an option or argument sets, by its dotted name."""

    key: str


def completes(words: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Shell completion with the words that begin with the typed letters."""
    return lambda incomplete: [word for word in words() if word.startswith(incomplete)]


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="See `thread models`. Default: embedded, on this machine.",
        autocompletion=completes(lambda: [kind.spec.partition("[")[0] for kind in KINDS.values()]),
    ),
    Sets("model.spec"),
]
Prompt = Annotated[
    str | None, typer.Option("--prompt", "-p", help="A prompt's name (`thread prompts`) or file."), Sets("prompt")
]
Protocol = Annotated[
    str | None,
    typer.Option(
        help=f"The wire format: {', '.join(FORMATS)}; with options, `weaver:paper`. Default: the prompt's own.",
        autocompletion=completes(lambda: FORMATS),
    ),
    Sets("protocol"),
]
Phi = Annotated[str | None, typer.Option(help=f"ϕ, what a child is given: {', '.join(PHI)}."), Sets("phi")]
Psi = Annotated[str | None, typer.Option(help=f"ψ, what its parent gets back: {', '.join(PSI)}."), Sets("psi")]
Temperature = Annotated[float | None, typer.Option(help="Of sampling; 0 is greedy."), Sets("model.temperature")]
GpuLayers = Annotated[
    int | None, typer.Option(help="Layers of a local model on the GPU; -1 for all."), Sets("model.gpu_layers")
]
Lora = Annotated[list[Path] | None, typer.Option(help="LoRA adapter (GGUF) of a local model."), Sets("model.adapters")]
MaxParallel = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto", help="Threads of an episode that generate at once; auto: as many as pay. Default: any number."
    ),
    Sets("max_parallel"),
]
Watch = Annotated[
    list[str] | None,
    typer.Option(
        help="A watcher, which may prune threads and end episodes early; may be given several times.",
        autocompletion=completes(watcher_names),
    ),
    Sets("watch"),
]
Branches = Annotated[
    int | None,
    typer.Option(help="Threads that answer the question each for itself; the answer of most counts."),
    Sets("branches"),
]
UnsafePython = Annotated[
    bool,
    typer.Option("--unsafe-python", help="Run data analysis unconfined where the kernel cannot confine it."),
    Sets("unsafe_python"),
]
Display = Annotated[
    str | None,
    typer.Option(help="auto, tree (redrawn), plain, json or none.", autocompletion=completes(lambda: get_args(Mode))),
    Sets("display"),
]
ConfigFile = Annotated[Path | None, typer.Option(help="A TOML file with any of these settings.")]
Override = Annotated[
    list[str] | None, typer.Option("-o", metavar="KEY=VALUE", help="Any setting, such as limits.repeats=3.")
]


def settings_of(command: Callable[..., Any], values: Mapping[str, Any], **others: Any) -> Config:
    """The configuration that a command's options make, with all its other sources.

    Args:
        command: the function whose parameters declare the options.
        values: what they were given, by the parameters' names; `config` is a file, `override` a list of `KEY=VALUE`.
        others: settings under their own names, for what no option gives as it is.

    Raises:
        UserError: a file cannot be read, a key does not exist, a value does not fit.
    """
    flags: dict[str, Any] = dict(others)
    for name, hint in get_type_hints(command, include_extras=True).items():
        for annotation in getattr(hint, "__metadata__", ()):
            if isinstance(annotation, Sets) and (value := _given(values[name])) is not None:
                *sections, key = annotation.key.split(".")
                place = flags
                for section in sections:
                    place = place.setdefault(section, {})
                place[key] = value
    return resolve(flags, file=values.get("config"), overrides=tuple(values.get("override") or ()))


def _given(value: Any) -> Any:
    """A value, or None where the option was not given: a switch that is off, a list without an item."""
    return None if value is False or value == [] else value
