"""The most frequent texts of a trained model, kept in its file as drafts for speculative decoding from the first thread
on.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from thread_cli.train.trajectories import Trajectory

__all__ = ["phrases"]

_LEAD: Final = 12
"""Characters of the text before a phrase that are kept with it."""
_OFTEN: Final = 3
_ROOM: Final = 16_384
"""Characters of all phrases."""


def phrases(trajectories: Iterable[Trajectory]) -> str:
    """The learned segments that occur more than twice, each with the text that most often precedes it: JSON, the most
    frequent last.

    It is a list of pairs: the end of the given text, and the segment.
    """
    leads: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for trajectory in trajectories:
        for before, segment in pairwise(trajectory.segments):
            if segment.learned and not before.learned:
                leads[segment.text][before.text[-_LEAD:]] += 1
    kept: list[tuple[str, str]] = []
    room = _ROOM
    for text, found in sorted(leads.items(), key=lambda item: (-item[1].total(), item[0])):
        room -= len(text)
        if found.total() < _OFTEN or room < 0:
            break
        kept.append((found.most_common(1)[0][0], text))
    return json.dumps(kept[::-1], ensure_ascii=False)
