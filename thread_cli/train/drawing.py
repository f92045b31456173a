"""Draws a packed sequence: its tokens, and its attention mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from thread_cli.contracts.errors import UserError
from thread_cli.distribution import remedy
from thread_cli.train.packing import packed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from thread_cli.train.packing import Example, Pack

__all__ = ["draw", "few"]

_MOST_TOKENS: Final = 400
_GIVEN, _LEARNED, _UNSEEN = "#c8d0d8", "#1f6f8b", "#ffffff"


def few(examples: Sequence[Example]) -> list[Example]:
    """The shortest examples, as many as a picture can show distinctly."""
    order = sorted(examples, key=lambda example: len(example.tokens))
    room = max(_MOST_TOKENS, 2 * len(order[0].tokens)) if order else 0
    count = next((n for n in range(1, len(order)) if len(packed(order[: n + 1])) > room), len(order))
    return order[:count]


def draw(pack: Pack, target: Path) -> None:
    """Draw the attention mask of a pack, one row for each token. Rows of learned tokens stand out.

    The bar above shows each token's position, its depth in the trie.

    Raises:
        UserError: matplotlib is not installed, or the picture cannot be written.
    """
    try:
        import numpy as np
        from matplotlib.colors import ListedColormap
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(f"--draw needs {error.name or error}: {remedy('report')}") from None
    count = len(pack)
    places = np.arange(count)
    seen = (places[None] <= places[:, None]) & (places[:, None] < np.array(pack.ends)[None])
    learned = np.array(pack.weights) > 0
    shown = seen * (1 + learned[:, None].astype(int))
    figure: Any = Figure(figsize=(7, 7.6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[1, 8], sharex=True)
    above.fill_between(places, pack.positions, step="mid", color=_GIVEN)
    above.set_ylabel("position")
    below.imshow(shown, cmap=ListedColormap([_UNSEEN, _GIVEN, _LEARNED]), vmin=0, vmax=2, interpolation="nearest")
    below.set_aspect("auto")
    below.set_xlabel(f"place in the packed sequence, {count} tokens")
    below.set_ylabel("attends to (dark: a token that is learned)")
    try:
        figure.savefig(target, dpi=120)
    except (OSError, ValueError) as error:
        raise UserError(f"the picture cannot be written to {target}: {error}") from None
