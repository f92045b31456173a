"""`thread train`: from recorded threads to a small model that writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from thread_cli.assembly.config import at_home
from thread_cli.bench.suite import load as load_suite
from thread_cli.cli.telling import tell
from thread_cli.contracts.errors import UserError
from thread_cli.distribution import remedy
from thread_cli.models.embedded import BASE
from thread_cli.supervision import GOES_ON, note
from thread_cli.train.rollout import Rollout
from thread_cli.train.trajectories import Trajectory, read

if TYPE_CHECKING:
    from thread_cli.train.sft import Progress as Step
    from thread_cli.train.weights import Base

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

_ADAPTER: Final = "How the adapter is trained"
_PLAYING: Final = "How it is played"
_QUIET: Final = 10.0
"""Seconds between two lines of progress where there is no terminal."""

_Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FOLDER", help="New, or begun by the same command, which goes on.")
]
_BaseModel = Annotated[str, typer.Option(help="embedded:base, a GGUF file, or a Hugging Face folder.")]
_Rank = Annotated[int, typer.Option(help="Of the adapter's factors.", min=1, rich_help_panel=_ADAPTER)]
_LearningRate = Annotated[float, typer.Option(help="At its highest.", min=0, rich_help_panel=_ADAPTER)]
_Epochs = Annotated[float, typer.Option(help="Times that each thread is learned.", min=0, rich_help_panel=_ADAPTER)]
_Length = Annotated[
    int, typer.Option(help="Tokens that are packed into one sequence.", min=16, rich_help_panel=_ADAPTER)
]
_Longest = Annotated[int, typer.Option(help="Threads of more tokens are left out.", min=16, rich_help_panel=_ADAPTER)]
_Packs = Annotated[int, typer.Option(help="Packs of a step.", min=1, rich_help_panel=_ADAPTER)]
_Seed = Annotated[int, typer.Option(help="Of first weights, the order of packs, and tasks that are played.")]
_Every = Annotated[float, typer.Option(help="Seconds between checkpoints.", min=0, rich_help_panel=_ADAPTER)]
_Quant = Annotated[
    str | None,
    typer.Option(help="Train for a model that is merged and brought into this format: q4_0.", rich_help_panel=_ADAPTER),
]
_Device = Annotated[str, typer.Option(help="cpu or cuda.", rich_help_panel=_ADAPTER)]
_Prompt = Annotated[str, typer.Option("--prompt", "-p", help="Name or file.", rich_help_panel=_PLAYING)]
_Limit = Annotated[int | None, typer.Option(help="Tasks of each part of a suite.", min=1, rich_help_panel=_PLAYING)]
_Concurrency = Annotated[
    int, typer.Option("--concurrency", "-j", help="Episodes under way at once.", min=1, rich_help_panel=_PLAYING)
]


@app.callback()
def train() -> None:
    """Train a small model to write threads itself, from recorded ones."""


@app.command("sft")
def sft(
    data: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Made by `thread data`.")],
    *,
    output: _Output,
    base: _BaseModel = BASE,
    start: Annotated[Path | None, typer.Option(metavar="FILE", help="Begin with this adapter.")] = None,
    evaluate: Annotated[
        str | None, typer.Option(metavar="SUITE", help="Play this suite with the adapter.", rich_help_panel=_PLAYING)
    ] = None,
    prompt: _Prompt = "specialist",
    limit: _Limit = None,
    concurrency: _Concurrency = 8,
    rank: _Rank = 8,
    learning_rate: _LearningRate = 1e-3,
    epochs: _Epochs = 1.0,
    length: _Length = 512,
    longest: _Longest = 2048,
    packs: _Packs = 2,
    seed: _Seed = 0,
    quant: _Quant = None,
    every: _Every = 60.0,
    device: _Device = "cpu",
) -> None:
    """Fine-tune on threads, and print the path of the adapter: for --lora and `thread models prepare`.

    Exit code: 2 the input is wrong, 4 an adapter cannot be kept or played, 130 interrupted (it goes on later).
    """
    note(goes_on=GOES_ON)
    trajectories = _read(data)
    rollout = (
        _rollout(evaluate, base, prompt, quant, limit=limit, seed=seed, concurrency=concurrency) if evaluate else None
    )
    recipe = {"rank": rank, "learning_rate": learning_rate, "epochs": epochs, "length": length, "longest": longest}
    recipe |= {"alpha": 2.0 * rank, "packs": packs, "seed": seed, "quant": quant}
    fit = _Fitting(base, recipe, every, device)
    adapter = fit(trajectories, at_home(output), start and at_home(start))
    if rollout is not None:
        tell(f"{evaluate}: {rollout.play(adapter, at_home(output) / 'evaluation')}")
    print(adapter)


@app.command("self")
def self_(
    suite: Annotated[str, typer.Argument(help="Training tasks: a suite's name, or a .toml file.")],
    *,
    output: _Output,
    rounds: Annotated[int, typer.Option(help="Of playing and learning.", min=1)] = 1,
    data: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Threads (`thread data`) to learn in every round.")
    ] = None,
    adapter: Annotated[Path | None, typer.Option(metavar="FILE", help="Plays the first round.")] = None,
    base: _BaseModel = BASE,
    prompt: _Prompt = "specialist",
    temperature: Annotated[float, typer.Option(help="Of playing.", min=0, rich_help_panel=_PLAYING)] = 0.7,
    samples: Annotated[int, typer.Option(help="Episodes of each task.", min=1, rich_help_panel=_PLAYING)] = 1,
    limit: _Limit = None,
    concurrency: _Concurrency = 8,
    rank: _Rank = 8,
    learning_rate: _LearningRate = 1e-3,
    epochs: _Epochs = 1.0,
    length: _Length = 512,
    longest: _Longest = 2048,
    packs: _Packs = 2,
    seed: _Seed = 0,
    quant: _Quant = None,
    every: _Every = 60.0,
    device: _Device = "cpu",
) -> None:
    """Let a model learn from its own threads that went well, and print the path of the last adapter.

    Exit code: 2 the input is wrong, 4 an adapter cannot be kept or played, 130 interrupted (it goes on later).
    """
    from thread_cli.train.selftrain import SelfTraining

    note(goes_on=GOES_ON)
    rollout = _rollout(
        suite,
        base,
        prompt,
        quant,
        limit=limit,
        seed=seed,
        concurrency=concurrency,
        epochs=samples,
        temperature=temperature,
    )
    recipe = {"rank": rank, "learning_rate": learning_rate, "epochs": epochs, "length": length, "longest": longest}
    recipe |= {"alpha": 2.0 * rank, "packs": packs, "seed": seed, "quant": quant}
    fit = _Fitting(base, recipe, every, device)
    training = SelfTraining(rollout, fit, at_home(output), tell)
    print(training.run(rounds, data=_read(data or []), adapter=adapter and at_home(adapter)))


class _Fitting:
    """Trains adapters of one base by one recipe."""

    def __init__(self, base: str, recipe: dict[str, Any], every: float, device: str) -> None:
        try:
            from thread_cli.train.sft import Recipe
            from thread_cli.train.weights import load
        except ImportError as error:
            raise UserError(f"training needs {error.name or error}: {remedy('train')}") from None
        self._load: Callable[[], Base] = lambda: load(None if base == BASE else at_home(Path(base)))
        self._name = base
        try:
            self._recipe = Recipe(**recipe)
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}") from None
        self._every = every
        self._device = device

    def __call__(self, trajectories: Sequence[Trajectory], folder: Path, start: Path | None = None) -> Path:
        from thread_cli.train.losses import draw
        from thread_cli.train.sft import train as trained

        tell(f"reading {self._name}")
        with _Shown() as done:
            adapter = trained(
                self._load(),
                trajectories,
                self._recipe,
                folder,
                done=done,
                tell=tell,
                every=self._every,
                device=self._device,
                start=start,
            )
        draw(folder)
        return adapter


class _Shown(AbstractContextManager[Any]):
    """A line of progress with loss and time left; where there is no terminal, a line now and then."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._live = console.is_terminal
        self._progress = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.4f} · {task.fields[speed]:.0f} tokens/s"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not self._live,
        )
        self._last_line = -_QUIET

    def __enter__(self) -> Callable[[Step], None]:
        self._progress.start()
        self._task = self._progress.add_task("", total=None, loss=0.0, speed=0.0)
        return self._done

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _done(self, at: Step) -> None:
        speed = at.tokens / max(at.seconds, 1e-9)
        self._progress.update(self._task, completed=at.step, total=at.steps, loss=at.loss, speed=speed)
        if not self._live and (at.seconds - self._last_line >= _QUIET or at.step == at.steps):
            self._last_line = at.seconds
            left = f"{at.left / 60:.0f} min left" if at.left >= 60 else f"{at.left:.0f} s left"
            tell(f"step {at.step}/{at.steps}: loss {at.loss:.4f}, {speed:.0f} tokens/s, {left}")


def _rollout(suite: str, base: str, prompt: str, quant: str | None, **how: Any) -> Rollout:
    path = None if base == BASE else at_home(Path(base))
    if path is not None and path.is_dir():
        raise UserError(f"{base} cannot be played: give the model as a GGUF file")
    return Rollout(load_suite(suite), path, prompt, quant or "q8_0", tell=tell, **how)


def _read(files: Sequence[Path]) -> list[Trajectory]:
    return [trajectory for file in files for trajectory in read(at_home(file))]
