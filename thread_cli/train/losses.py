"""The curve of a training's losses, as a picture."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, Final

from thread_cli.contracts.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["draw"]

_SMOOTHED: Final = 0.9
"""Share of the mean so far in a smoothed loss."""


def draw(folder: Path) -> Path | None:
    """Draw `losses.csv` of a training's folder as `losses.svg`; None where matplotlib is not installed.

    Raises:
        UserError: the losses cannot be read or the picture not be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    target = folder / "losses.svg"
    try:
        with (folder / "losses.csv").open(encoding="utf-8") as file:
            rows = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
        smoothed: list[float] = []
        for _, loss in rows:
            smoothed.append(_SMOOTHED * smoothed[-1] + (1 - _SMOOTHED) * loss if smoothed else loss)
        figure: Any = Figure(figsize=(7, 3.5), layout="constrained")
        axes: Any = figure.subplots()
        steps = [step for step, _ in rows]
        axes.semilogy(steps, [loss for _, loss in rows], linewidth=0.6, color="#9ab", label="step")
        axes.semilogy(steps, smoothed, color="#146", label="smoothed")
        axes.set_xlabel("step")
        axes.set_ylabel("loss of a learned token (nats)")
        axes.legend(frameon=False)
        figure.savefig(target)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"the losses in {folder} cannot be drawn: {error}") from None
    return target
