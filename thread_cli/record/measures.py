"""What parallel threads gained in an episode, as ratios of its sums (`Totals`).

L_total is the number of generated tokens, L_longest the token latency: the length of the critical path
(`record/critical.py`). The names and L_longest, L_total and η are ThreadWeaver's (arXiv 2512.07843).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thread_cli.contracts.events import Totals

__all__ = ["acceleration", "activated", "self_parallelism", "wall_speedup"]


def activated(totals: Totals) -> bool:
    """Whether the episode spawned in parallel: several children in one fork, or at least one in the background.

    The share of such episodes in a run is its activation ratio.
    """
    return totals.parallel_forks > 0


def self_parallelism(totals: Totals) -> float | None:
    """L_total / L_longest: how much longer the critical path is if the same tokens follow one another; at least 1.

    It is work divided by span, the parallelism of a program. None where nothing was generated.
    """
    return totals.generated_tokens / totals.token_latency if totals.token_latency else None


def acceleration(totals: Totals) -> float | None:
    """η = 1 - L_longest / L_total: the share of the tokens that is off the critical path, from 0 to below 1.

    None where nothing was generated.
    """
    return 1 - totals.token_latency / totals.generated_tokens if totals.generated_tokens else None


def wall_speedup(totals: Totals) -> float | None:
    """Seconds of all completed model calls, without queueing and backing off, per second of wall time.

    That is the mean number of calls under way. It is below 1 where time passes outside of calls, and above the gain
    over calls one after the other where calls slow each other down. None where no fork was parallel, and in logs of
    earlier versions.
    """
    return totals.model_seconds / totals.seconds if totals.seconds and totals.model_seconds else None
