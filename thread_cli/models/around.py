"""What models that stand around another model have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thread_cli.contracts.model import Recorded
from thread_cli.protocols.streams import asked, poured

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from thread_cli.contracts.model import Completion, Model, Piece, Request

__all__ = ["Around", "tell_recorded"]


class Around:
    """A model around another one, which it changes requests and answers of.

    Args:
        model: the model inside; it is closed by whoever has opened it.
    """

    policy: str
    """As in `Recorded`; set only where the model inside has it."""
    choices: Mapping[str, Sequence[str]]

    def __init__(self, model: Model) -> None:
        self._model = model
        tell_recorded(self, model)

    def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        """As `complete`, piece by piece where the model inside streams."""
        return poured(lambda tell: self._asked(request, tell))

    async def complete(self, request: Request) -> Completion:
        """The model's answer to the request, both changed; raises as the model does."""
        return await self._asked(request)

    async def close(self) -> None:
        """Release nothing."""

    async def _asked(self, request: Request, tell: Callable[[Piece], None] | None = None) -> Completion:
        return await asked(self._model, request, tell)


def tell_recorded(around: object, model: Model | None) -> None:
    """Let a model around a recorded one know of its choices and its version what that one knows."""
    if isinstance(model, Recorded):
        around.__dict__.update(policy=model.policy, choices=model.choices)
