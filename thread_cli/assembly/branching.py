"""Several branches of one question in an episode, and the majority of their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from thread_cli.assembly.watchers import acting, probed
from thread_cli.contracts.environment import Marks, Scores
from thread_cli.contracts.errors import UserError
from thread_cli.contracts.protocol import Whole
from thread_cli.contracts.watcher import Probes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thread_cli.assembly.config import Config
    from thread_cli.contracts.environment import Environment
    from thread_cli.contracts.limits import Limits
    from thread_cli.contracts.model import Model
    from thread_cli.contracts.protocol import Protocol
    from thread_cli.contracts.watcher import Watcher

__all__ = ["Arranged", "arrange", "require_answers", "require_short_answers"]


@dataclass(frozen=True, slots=True)
class Arranged:
    """What an episode is played with, once branches and probes are arranged for.

    `protocol` is None for the wire format that the prompt declares.
    """

    model: Model
    protocol: Protocol | None
    limits: Limits
    watchers: list[Watcher]


def arrange(
    model: Model,
    *,
    limits: Limits,
    watchers: list[Watcher],
    branches: int | None,
    protocol: Protocol | None,
    plain: Protocol,
    inside: Model | None = None,
) -> Arranged:
    """Arrange for the probes of watchers, and for so many branches; None for none.

    `protocol` is the wire format of threads where it is not the prompt's, which is `plain`. `inside` is the model that
    was opened, where `model` is a method's around it.
    """
    watching = acting(inside or model, watchers)
    asked = probed(model, watchers)
    if branches is None:
        return Arranged(asked, protocol, limits, watching)
    from thread_cli.models.branches import branched  # loaded for votes alone

    outside, ballot = branched(asked, branches, protocol or plain)
    return Arranged(outside, ballot, _limits(limits, branches, probes=asked is not model), watching)


def require_answers(environment: Environment, name: str) -> None:
    """Make sure that branches can vote; raises UserError if the environment wants actions and no answer."""
    if environment.graded and not isinstance(environment, (Scores, Marks)):
        raise UserError(
            f"{name} is solved by actions, and branches vote on answers: use neither --branches nor self-consistency"
        )


def require_short_answers(
    answering: Environment | Protocol, name: str, config: Config, watchers: Sequence[Watcher]
) -> None:
    """Make sure that branches can be asked for their answers while they write, if one of the watchers has that done.

    `answering` is an environment or a wire format, and `name` its name in the message. Replays ask nothing new.

    Raises:
        UserError: its answers are whole texts, and a watcher asks branches for short ones.
    """
    if not isinstance(answering, Whole) or config.model.named.innermost.kind == "replay":
        return
    for watch, watcher in zip(config.watch, watchers, strict=True):
        if isinstance(watcher, Probes) and watcher.branches:
            raise UserError(
                f"the watcher {watch} asks branches for short answers, and an answer in {name} is a whole text: "
                "leave the watcher out"
            )


def _limits(limits: Limits, branches: int, *, probes: bool) -> Limits:
    """The limits of an episode of so many branches: each may make as many calls and threads as it might alone.

    The amounts left after the main thread's first call and the births of the branches are divided into equal parts, one
    for each branch and one for the main thread. The main thread is a level above the branches, `probes` are one below.
    """
    parts = branches + 1
    update = {
        "depth": limits.depth + 1 + probes,
        "fan_out": max(limits.fan_out, branches),
        "threads": limits.threads and (limits.threads - 1) * parts + branches + 1,
        "calls": limits.calls and limits.calls * parts + 1,
    }
    return limits.model_copy(update=update)
