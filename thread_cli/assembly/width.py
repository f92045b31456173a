"""`--max-parallel auto`: as many threads at once as a model has room for, and as pay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import ExitCode, ModelError, UserError
from thread_cli.contracts.model import Profiled

if TYPE_CHECKING:
    from thread_cli.assembly.config import Width
    from thread_cli.contracts.model import Model, Profile
    from thread_cli.protocols.prompt import Prompt

__all__ = ["GAIN", "fitted", "paying"]

GAIN: Final = 0.1
"""Share of throughput that a larger width has to gain for it to pay."""


async def fitted(wanted: Width, model: Model, prompt: Prompt) -> tuple[Prompt, int | None]:
    """The prompt with the model's profile, where its text asks for that, and how many threads may generate at once.

    `wanted`: that number, `auto`, or None for any. A model that tells nothing of itself, such as a script, has room for
    any number.

    Raises:
        UserError: the model cannot be loaded or measured.
    """
    try:
        profile = await model.profile() if isinstance(model, Profiled) else None
    except ModelError as failure:
        raise UserError(failure.message, ExitCode.infrastructure) from failure
    width = wanted if isinstance(wanted, int) else profile and paying(profile)
    return prompt.at_width(width, profile.speeds if profile else {}), None if wanted is None else width


def paying(profile: Profile) -> int:
    """The smallest width beyond which no measured width is faster by more than `GAIN`; at most as many as are free."""
    best = max(profile.speeds.values(), default=0.0)
    widths = [width for width, speed in sorted(profile.speeds.items()) if best <= speed * (1 + GAIN)]
    return min(profile.free, *widths[:1]) if widths else profile.free
