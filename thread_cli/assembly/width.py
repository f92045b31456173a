"""`--max-parallel auto`: as many threads at once as a model has room for, and as pay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import ExitCode, ModelError, UserError
from thread_cli.contracts.model import Profiled

if TYPE_CHECKING:
    from thread_cli.contracts.model import Model, Profile

__all__ = ["GAIN", "paying", "width_for"]

GAIN: Final = 0.1
"""Share of throughput that a larger width has to gain for it to pay."""


async def width_for(model: Model) -> int | None:
    """How many threads of an episode may generate at once with this model.

    None, for any number, of a model that tells nothing of itself, such as a script.

    Raises:
        UserError: the model cannot be loaded or measured.
    """
    if not isinstance(model, Profiled):
        return None
    try:
        return paying(await model.profile())
    except ModelError as failure:
        raise UserError(failure.message, ExitCode.infrastructure) from failure


def paying(profile: Profile) -> int:
    """The smallest width beyond which no measured width is faster by more than `GAIN`; at most as many as are free."""
    best = max(profile.speeds.values(), default=0.0)
    widths = [width for width, speed in sorted(profile.speeds.items()) if best <= speed * (1 + GAIN)]
    return min(profile.free, *widths[:1]) if widths else profile.free
