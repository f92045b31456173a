"""Supervised fine-tuning (SFT) of a LoRA adapter on packed trajectories, with checkpoints to resume from.

Recipe and data alone decide the result: the order of packs follows from seed and epoch, so a training that was killed
goes on from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field

from thread_cli.contracts.errors import UserError
from thread_cli.models.llama.drafts import PHRASES
from thread_cli.models.llama.steps import digest_of, written
from thread_cli.train.attention import runs_of
from thread_cli.train.packing import Example, Pack, examples_of, packs_of
from thread_cli.train.phrases import phrases
from thread_cli.train.rounding import Rounded
from thread_cli.train.weights import Base, adapted, export, import_, restore, save

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from thread_cli.train.trajectories import Trajectory

__all__ = ["Progress", "Recipe", "logits_of", "loss_of", "train"]

_ADAPTER: Final = "adapter.gguf"
_CHECKPOINT: Final = "checkpoint.pt"
_LOSSES: Final = "losses.csv"
_RECIPE: Final = "recipe.json"


class Recipe(BaseModel):
    """The settings that decide a training, beside base model and data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=8, ge=1)
    """Rank of the LoRA factors."""
    alpha: float = Field(default=16.0, gt=0)
    """The adapter counts alpha / rank times."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """The peak; the rate rises linearly during warm-up, then falls as a cosine to a tenth."""
    warmup: int = Field(default=20, ge=0)
    """Steps."""
    epochs: float = Field(default=2.0, gt=0)
    length: int = Field(default=512, ge=16)
    """Tokens of a pack."""
    longest: int = Field(default=2048, ge=16)
    """Longer threads are left out."""
    packs: int = Field(default=2, ge=1)
    """Packs of a step."""
    clip: float = Field(default=1.0, gt=0)
    """Norm to which the gradient is clipped."""
    seed: int = 0
    quant: Literal["q4_0"] | None = None
    """Format that the merged model is trained for; None for formats whose rounding does not matter, such as q8_0."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a training after a step."""

    step: int
    steps: int
    loss: float
    """Mean of the step's learned tokens, in nats."""
    tokens: int
    """Tokens computed since the start of this process, shared prefixes counted once."""
    seconds: float
    """Since the start of this process."""
    left: float
    """Estimated seconds to the end."""


def logits_of(model: Any, pack: Pack, places: Sequence[int]) -> Any:
    """The logits at the given places of a pack, which predict the tokens that follow: places x vocabulary."""
    device = next(model.parameters()).device
    output = model(
        input_ids=torch.tensor([pack.tokens], device=device),
        position_ids=torch.tensor([pack.positions], device=device),
        runs=runs_of(pack, device),
        logits_to_keep=torch.tensor(places, device=device),
        use_cache=False,
    )
    return output.logits[0].float()


def loss_of(model: Any, pack: Pack) -> Any:
    """Sum of the cross-entropies of the learned tokens of a pack, in nats; differentiable."""
    learned = [place for place, weight in enumerate(pack.weights) if weight]
    # Logits are computed where a learned token's parent stands, and nowhere else.
    predicting = sorted({pack.parents[place] for place in learned})
    row = {place: index for index, place in enumerate(predicting)}
    logits = logits_of(model, pack, predicting)
    rows = torch.tensor([row[pack.parents[place]] for place in learned], device=logits.device)
    targets = torch.tensor([pack.tokens[place] for place in learned], device=logits.device)
    weights = torch.tensor([float(pack.weights[place]) for place in learned], device=logits.device)
    return (torch.nn.functional.cross_entropy(logits[rows], targets, reduction="none") * weights).sum()


def train(
    base: Base,
    trajectories: Sequence[Trajectory],
    recipe: Recipe,
    folder: Path,
    *,
    done: Callable[[Progress], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
    every: float = 60.0,
    device: str = "cpu",
    start: Path | None = None,
    about: dict[str, str] | None = None,
) -> Path:
    """Train an adapter, and return its path: `adapter.gguf` in `folder`, beside recipe, losses and the last checkpoint.

    A checkpoint of the same recipe, data and base in the folder is resumed. `start`: an adapter to begin with, of the
    same rank. `every`: seconds between checkpoints.

    Raises:
        UserError: the folder holds another training or cannot be written, or the data have no learned tokens.
    """
    examples, long = examples_of(trajectories, base.vocabulary, recipe.longest)
    tell(_described(examples, long, recipe))
    if not any(any(example.learned) for example in examples):
        raise UserError("there is nothing to learn in this data: no thread in it is short enough")
    identity = _identity(recipe, examples, base, start)
    model = _on(device, adapted(base, rank=recipe.rank, alpha=recipe.alpha, seed=recipe.seed))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer: Any = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=0.0)
    begun = _begin(folder, recipe, identity)
    if begun is not None:
        restore(model, begun["adapter"])
        optimizer.load_state_dict(begun["optimizer"])
    elif start is not None:
        import_(start, model)
    first = 0 if begun is None else int(begun["step"])
    _truncate(folder / _LOSSES, first)
    batches = _Batches(examples, recipe)
    rounded = None if recipe.quant is None else Rounded(model, recipe.quant)
    model.train()
    started = saved = time.monotonic()
    tokens = 0
    for step in range(first, batches.steps):
        packs = batches[step]
        if rounded is not None:
            rounded.refresh()
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _share(step, batches.steps, recipe.warmup)
        total = sum(pack.learned for pack in packs)
        loss = 0.0
        for pack in packs:
            part = loss_of(model, pack) / total
            part.backward()
            loss += float(part.detach())
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens += sum(map(len, packs))
        _append(folder / _LOSSES, f"{step + 1},{loss:.6f},{sum(map(len, packs))},{total}\n")
        now = time.monotonic()
        spent = now - started
        left = spent / (step + 1 - first) * (batches.steps - step - 1)
        done(Progress(step + 1, batches.steps, loss, tokens, spent, left))
        if now - saved >= every or step + 1 == batches.steps:
            state = {"adapter": save(model), "optimizer": optimizer.state_dict(), "step": step + 1}
            _checkpoint(folder, state)
            saved = time.monotonic()
    about = {"training.recipe": recipe.model_dump_json(), PHRASES: phrases(trajectories), **(about or {})}
    export(model, folder / _ADAPTER, about)
    return folder / _ADAPTER


class _Batches:
    """The packs of each step, decided by the recipe alone."""

    def __init__(self, examples: Sequence[Example], recipe: Recipe) -> None:
        self._examples = examples
        self._recipe = recipe
        self._epoch = -1
        self._packs: list[Pack] = []
        counts = [len(self._of(epoch)) for epoch in range(math.ceil(recipe.epochs))]
        counts[-1] = max(1, round(counts[-1] * (recipe.epochs - len(counts) + 1)))
        steps = [math.ceil(count / recipe.packs) for count in counts]
        self._starts = [sum(steps[:epoch]) for epoch in range(len(steps))]
        self.steps = sum(steps)

    def __getitem__(self, step: int) -> list[Pack]:
        epoch = max(epoch for epoch, start in enumerate(self._starts) if start <= step)
        place = (step - self._starts[epoch]) * self._recipe.packs
        return self._of(epoch)[place : place + self._recipe.packs]

    def _of(self, epoch: int) -> list[Pack]:
        if epoch != self._epoch:
            self._packs = packs_of(self._examples, self._recipe.length, seed=f"{self._recipe.seed}:{epoch}")
            self._epoch = epoch
        return self._packs


def _share(step: int, steps: int, warmup: int) -> float:
    """The share of the highest learning rate at a step."""
    if step < warmup:
        return (step + 1) / warmup
    along = (step - warmup) / max(1, steps - warmup)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * along))


def _described(examples: Sequence[Example], long: int, recipe: Recipe) -> str:
    """Describes the data, in words."""
    tokens = sum(len(example.tokens) for example in examples)
    learned = sum(sum(example.learned) for example in examples)
    packed = sum(map(len, packs_of(examples, recipe.length, seed=f"{recipe.seed}:0")))
    left_out = f"; {long:,} of more than {recipe.longest:,} tokens are left out" if long else ""
    saved = f", of which packing spares {1 - packed / tokens:.1%}" if tokens else ""
    return f"{len(examples):,} threads of {tokens:,} tokens{saved}; {learned:,} are learned{left_out}"


def _on(device: str, model: Any) -> Any:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"torch cannot compute on {device!r}: {str(error).splitlines()[0]}") from None


def _identity(recipe: Recipe, examples: Sequence[Example], base: Base, start: Path | None) -> str:
    digest = hashlib.sha256(recipe.model_dump_json().encode())
    if start is not None:
        digest.update(digest_of([start]).encode())
    for weight in base.model.state_dict().values():
        digest.update(weight.cpu().numpy())
    for example in sorted(examples):
        digest.update(repr((example.tokens, example.learned)).encode())
    return digest.hexdigest()


def _begin(folder: Path, recipe: Recipe, identity: str) -> dict[str, Any] | None:
    """The checkpoint of this very training in `folder`, if there is one."""
    known = {"identity": identity, "recipe": recipe.model_dump()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / _RECIPE).exists():
            found: Any = json.loads((folder / _RECIPE).read_text("utf-8"))
            if found.get("identity") != identity:
                raise UserError(
                    f"{folder} holds a training with another recipe, other data or another base: choose another folder"
                )
        else:
            with written(folder / _RECIPE) as part:
                part.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
        if not (folder / _CHECKPOINT).exists():
            return None
        return cast("dict[str, Any]", torch.load(folder / _CHECKPOINT, map_location="cpu", weights_only=True))
    except (OSError, ValueError) as error:
        raise UserError(f"the training cannot be kept in {folder}: {error}") from None


def _checkpoint(folder: Path, state: dict[str, Any]) -> None:
    with written(folder / _CHECKPOINT) as part:
        torch.save(state, part)


def _truncate(losses: Path, steps: int) -> None:
    """Keep the losses of the first `steps` steps: later ones will be computed again."""
    lines = losses.read_text("utf-8").splitlines(keepends=True) if losses.exists() else []
    header = "step,loss,tokens,learned\n"
    with written(losses) as part:
        part.write_text("".join([header, *lines[1 : steps + 1]]), "utf-8")


def _append(losses: Path, line: str) -> None:
    with losses.open("a", encoding="utf-8") as file:
        file.write(line)
