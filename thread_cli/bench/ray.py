"""Playing episodes on a Ray cluster: actors hold the environments, and the run's folder stays here.

Parts of a suite that name resources have actors of their own, which play one episode at a time; all others share
actors that take one processor each. An episode's events come back with its result, so the machines of the cluster need
no common folder. They need this package, and the data of the environments.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from thread_cli.bench import FailureClass
from thread_cli.bench.plan import Plan
from thread_cli.bench.player import Attempt, Player
from thread_cli.contracts.errors import Status, UserError
from thread_cli.contracts.events import Totals
from thread_cli.distribution import remedy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thread_cli.bench.plan import Item
    from thread_cli.bench.player import Spent

__all__ = ["RayPlayers", "require_ray"]

_NAMED: Final = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
"""Ray's parameter names for its own kinds of resources."""


def require_ray() -> None:
    """Make sure that Ray is installed; raises UserError where it is not."""
    if find_spec("ray") is None:
        raise UserError(f"--executor ray needs Ray: {remedy('ray')}")


class RayPlayers:
    """Plays the episodes of a settled plan on a cluster.

    Args:
        plan: the run.
        concurrency: episodes under way at once, in the whole cluster.
        address: of the cluster; None to start one on this machine, for as long as this object is used.

    Raises:
        UserError: Ray is missing, or there is no cluster at that address.
    """

    def __init__(self, plan: Plan, concurrency: int, address: str | None = None) -> None:
        require_ray()
        self._ray: Any = importlib.import_module("ray")
        self._plan = plan
        self._concurrency = concurrency
        self._actors: list[Any] = []
        self._free: defaultdict[tuple[tuple[str, float], ...], asyncio.Queue[Any]] = defaultdict(asyncio.Queue)
        _start(self._ray, address)

    async def play(self, item: Item, log: Path, spent: Spent) -> Attempt:
        """Play an episode on a free actor; see `Players`."""
        free = self._free_for(self._plan.suite.parts[item.part].resources)
        actor = await free.get()
        try:
            attempt, events = await actor.play.remote(item)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            attempt, events = _failed(error.cause), b""
        except self._ray.exceptions.RayError as error:
            attempt, events = _failed(error), b""
        finally:
            free.put_nowait(actor)
        await asyncio.to_thread(log.write_bytes, events)
        totals = attempt.totals
        spent(totals.prompt_tokens + totals.generated_tokens, totals.cost)
        return attempt

    async def aclose(self) -> None:
        """End all actors, and the cluster where it was started here. May be called twice."""
        actors, self._actors = self._actors, []
        for actor in actors:
            self._ray.kill(actor)
        self._ray.shutdown()

    def _free_for(self, resources: Mapping[str, float]) -> asyncio.Queue[Any]:
        """The actors with these resources that have room for an episode; each occurs once for every free slot."""
        needs = tuple(sorted(resources.items()))
        if needs not in self._free:
            free = self._free[needs]
            for actor, room in self._made(dict(needs)):
                self._actors.append(actor)
                for _ in range(room):
                    free.put_nowait(actor)
        return self._free[needs]

    def _made(self, needs: dict[str, float]) -> list[tuple[Any, int]]:
        """New actors, each with the number of episodes that it plays at once."""
        if needs:
            count, room = self._fitting(needs), 1
            options: dict[str, Any] = {"num_cpus": 0}
        else:
            count = max(1, min(self._concurrency, self._fitting({"CPU": 1.0})))
            room = -(-self._concurrency // count)
            options = {"num_cpus": 1}
        options |= {_NAMED[name]: needs.pop(name) for name in _NAMED if name in needs}
        remote = self._ray.remote(_Remote).options(
            **options, resources=needs, max_concurrency=room, max_restarts=-1, scheduling_strategy="SPREAD"
        )
        plan = self._plan.model_dump_json()
        return [(remote.remote(plan), room) for _ in range(count)]

    def _fitting(self, needs: Mapping[str, float]) -> int:
        """Number of actors with these needs that fit on the cluster, up to the concurrency."""
        there: Mapping[str, float] = self._ray.cluster_resources()
        fitting = min((int(there.get(name, 0) / need) for name, need in needs.items() if need), default=1)
        if not fitting:
            resources = ", ".join(f"{name} {need:g}" for name, need in needs.items())
            raise UserError(f"the Ray cluster has not what a part of the suite needs: {resources}")
        return min(fitting, self._concurrency)


class _Remote:
    """A player in a process of the cluster."""

    def __init__(self, plan: str) -> None:
        self._player = Player(Plan.model_validate_json(plan))

    async def play(self, item: Item) -> tuple[Attempt, bytes]:
        """An attempt at an episode, and its events as they stand in a log."""
        with TemporaryDirectory() as folder:
            log = Path(folder) / "events.jsonl"
            attempt = await self._player.play(item, log, lambda _tokens, _cost: None)
            return attempt, log.read_bytes()


def _start(ray: Any, address: str | None) -> None:
    """Connect to the cluster, leaving the handling of signals as it is."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address, include_dashboard=False if address is None else None, log_to_driver=False,
                 logging_level=logging.ERROR)  # fmt: skip
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"there is no Ray cluster at {address}: {reason}" if address else reason) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _failed(error: BaseException) -> Attempt:
    message = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    return Attempt(Status.engine_error, None, {}, message, Totals(), FailureClass.infrastructure, 0.0)
