"""Tasks made on demand, for splits with many tasks, or with tasks that take long to make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast, overload

from thread_cli.contracts.environment import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["LazyTasks"]


class LazyTasks(Sequence[Task]):  # noqa: PLW1641 - it has no hash, as a list has none
    """A sequence of tasks, each made at every access.

    Args:
        numbers: one for each task, such as `range(300)`.
        make: the task of a number; the same at every call.
    """

    def __init__(self, numbers: range, make: Callable[[int], Task]) -> None:
        self._numbers = numbers
        self._make = make

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> LazyTasks: ...
    def __getitem__(self, index: int | slice) -> Task | LazyTasks:
        chosen = self._numbers[index]
        return LazyTasks(chosen, self._make) if isinstance(chosen, range) else self._make(chosen)

    def __iter__(self) -> Iterator[Task]:
        # The inherited method would take an IndexError in `make` for the end.
        return map(self._make, self._numbers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (LazyTasks, list, tuple)):
            return NotImplemented
        others = cast("Sequence[object]", other)
        return len(self) == len(others) and all(one == another for one, another in zip(self, others, strict=True))
