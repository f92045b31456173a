"""The common part of models that wrap another model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thread_cli.contracts.events import Recorded
from thread_cli.protocols.streams import asked, poured

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from thread_cli.contracts.events import Event
    from thread_cli.contracts.model import Completion, Model, Piece, Request

__all__ = ["Around", "tell_recorded"]


class Around:
    """Wraps a model, and changes its requests and answers.

    Args:
        model: the wrapped model; its owner closes it.
    """

    policy: str
    """As in `Recorded`; set only if the wrapped model has it."""
    recording: Sequence[Event]

    def __init__(self, model: Model) -> None:
        self._model = model
        tell_recorded(self, model)

    def stream(self, request: Request) -> AsyncGenerator[Piece | Completion]:
        """As `complete`, piece by piece if the wrapped model streams."""
        return poured(lambda tell: self._asked(request, tell))

    async def complete(self, request: Request) -> Completion:
        """The model's answer to the request, both changed; raises as the model does."""
        return await self._asked(request)

    async def close(self) -> None:
        """Release nothing."""

    async def _asked(self, request: Request, tell: Callable[[Piece], None] | None = None) -> Completion:
        return await asked(self._model, request, tell)


def tell_recorded(around: object, model: Model | None) -> None:
    """Give a wrapper the version and recording of the model that it wraps, if that one is recorded."""
    if isinstance(model, Recorded):
        around.__dict__.update(policy=model.policy, recording=model.recording)
