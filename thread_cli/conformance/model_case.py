"""The requests with which backends are checked."""

from __future__ import annotations

from typing import Final

from thread_cli.contracts.model import Request

__all__ = ["ASKED", "MARK"]

MARK: Final = "\n#END#"
"""A stop string that no list of numbers holds."""
ASKED: Final = Request(
    q="Numbers in order, one line each list.\n1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12\n",
    c="21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32\n",
    y="41, 42, 43,",
    stop=("=>", MARK),
    max_tokens=24,
    seed=1,
    max_reasoning=1000,
)
"""A request whose answer nearly every model knows: how a plain list of numbers goes on."""
