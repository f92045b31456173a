"""A run of tests comes to an end, and names the test at fault, though a worker dies or nothing moves any more.

Files that take longest are begun first, so that all workers are busy to the end.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Watch"]

_LONGEST: Final = (
    "prepare",
    "training",
    "bench_crash",
    "speculation",
    "alfworld_teacher",
    "train_weights",
    "older_logs",
    "supervision",
    "cli",
    "session_machine",
    "embedded",
    "environments",
    "general_prompts",
    "watching",
    "llama",
)
"""Files that take longest for the tests they have: begun last, one of them would keep a single worker busy at the end."""
_GRACE: Final = 60.0
"""Seconds beyond two tests' time-outs after which a run in which no test ends is given up."""


class Watch:
    """To be registered as a plug-in of the process that hands tests to workers."""

    def __init__(self, quiet: float, first: Sequence[str] = ()) -> None:
        self._quiet = quiet
        self._first = first
        self._under_way: dict[str, float] = {}
        self._moved = time.monotonic()
        self._over = threading.Event()

    @classmethod
    def of(cls, config: pytest.Config) -> Watch:
        """For the time-out of one test that is set."""
        timeout = config.getoption("timeout", None) or config.getini("timeout") or 0
        return cls(2 * float(timeout) + _GRACE, [f"tests/test_{name}.py" for name in _LONGEST])

    def pytest_sessionstart(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()

    def pytest_sessionfinish(self) -> None:
        self._over.set()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._moved = self._under_way[nodeid] = time.monotonic()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._moved = time.monotonic()
        self._under_way.pop(nodeid, None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str) -> None:
        self._moved = time.monotonic()
        self._under_way.pop(crashitem, None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Files to workers as `--dist loadfile` has it, and as one would expect when workers die."""
        from xdist.scheduler import LoadFileScheduling

        first = self._first

        class Scheduling(LoadFileScheduling):
            def schedule(self) -> None:
                collected = [*self.registered_collections.values()]
                if self.collection is None and all(tests == collected[0] for tests in collected):
                    files = {self._split_scope(test) for test in collected[0]}
                    # All files get their tests, and those behind these their places, by their number of tests.
                    self.workqueue.update({file: {} for file in first if file in files})
                super().schedule()

            def _reschedule(self, node: Any) -> None:
                # A worker that replaces another has yet to tell its tests; given some before, the whole run breaks off.
                if node not in self.registered_collections:
                    return
                super()._reschedule(node)
                # A worker begins no test before it knows the next one, or that there is none: one alone waits for ever.
                while not node.shutting_down and self._pending_of(self.assigned_work[node]) < 2:
                    super()._reschedule(node)

            def remove_node(self, node: Any) -> str | None:
                units = self.assigned_work[node]
                left = [(file, test) for file, tests in units.items() for test, ended in tests.items() if not ended]
                if left:
                    # Otherwise the test would be given to the next worker, and kill that one as well.
                    file, test = left[0]
                    units[file][test] = True
                for file in [file for file, tests in units.items() if all(tests.values())]:
                    del units[file]
                super().remove_node(node)
                return left[0][1] if left else None

        return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None

    def _watch(self) -> None:
        while not self._over.wait(min(1.0, self._quiet / 4)):
            now = time.monotonic()
            if now - self._moved > self._quiet:
                named = [f"  {test}, for {now - began:.0f} s" for test, began in self._under_way.items()]
                lines = [f"\n\nNo test has begun or ended for {self._quiet:.0f} s. Under way:", *(named or ["  none"])]
                os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, "\n".join([*lines, ""]).encode())
                _end()


def _end() -> NoReturn:
    """End this process and all that it started, whatever they do."""
    for process in psutil.Process().children(recursive=True):
        process.kill()
    os._exit(pytest.ExitCode.INTERRUPTED)
