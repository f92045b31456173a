"""The libraries that sessions of each kind have loaded, and their treatment of the libraries' values.

This module runs in the warmed process and in the sessions forked from it, never in the runner.
"""

from __future__ import annotations

import inspect
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KINDS", "Tools", "let_event_loops_run"]


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Tools:
    """`source` binds the names that every session has. `warm` uses frequent functions once, so that no session has to
    load them. `plain` replaces a library's value by a plain one, if there is an equivalent; `shared` are types of
    objects for which sharing makes no difference. `chance` seeds the random numbers anew.
    """

    source: str
    warm: str
    chance: Callable[[], None]
    plain: Callable[[Any], Any] = _same
    shared: tuple[type, ...] = ()


_MODULES: Final = """
import bisect, calendar, collections, copy, csv, dataclasses, datetime, decimal, enum, fractions, functools, heapq, io
import itertools, json, math, operator, pprint, random, re, statistics, string, textwrap, time, traceback, typing
import abc, contextlib, inspect, logging, numbers, unicodedata, keyword, types, warnings, os, sys
"""
_PANDAS: Final = """
import datetime, json, math, re, statistics
import numpy as np, pandas as pd, scipy
from scipy import stats
from scipy.stats import linregress, pearsonr
"""
_WARM: Final = """
import io
table = pd.read_csv(io.StringIO("a,b,c\\n1,2.5,x\\n2,3.5,y\\n3,,x\\n"))
table["when"] = pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"])
table.merge(table.groupby("c").mean(numeric_only=True), on="c").to_csv(io.StringIO())
str(table.describe())
linregress([1, 2, 3], [1, 2, 4])
pearsonr([1, 2, 3], [1, 2, 4])
"""


class _PipeEnd:
    """One end of a pipe, with the methods of a socket that an event loop calls."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def setblocking(self, flag: bool) -> None:
        os.set_blocking(self._descriptor, flag)

    def recv(self, size: int) -> bytes:
        return os.read(self._descriptor, size)

    def send(self, data: bytes) -> int:
        return os.write(self._descriptor, data)

    def close(self) -> None:
        os.close(self._descriptor)


def let_event_loops_run() -> None:
    """Give `asyncio` a pipe to wake itself with, in place of the pair of sockets that sessions may not open."""
    pair = socket.socketpair

    def socketpair(*args: Any, **kwargs: Any) -> Any:
        caller = inspect.currentframe()
        caller = caller and caller.f_back
        if caller is None or caller.f_globals.get("__name__") != "asyncio.selector_events":
            return pair(*args, **kwargs)
        return tuple(map(_PipeEnd, os.pipe()))

    socket.socketpair = socketpair


def _variables() -> Tools:
    import random

    return Tools(source="", warm=_MODULES, chance=lambda: random.seed(0))


def _analysis() -> Tools:
    import random

    import numpy as np
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

    scalars = (np.bool_, np.integer, np.floating, np.str_)

    def plain(value: Any) -> Any:
        return cast("Any", value).item() if isinstance(value, scalars) else value

    def chance() -> None:
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 - for code that uses it

    return Tools(
        _PANDAS, _PANDAS + _WARM, chance, plain, (np.dtype, np.generic, pd.Index, pd.api.extensions.ExtensionDtype)
    )


KINDS: Final[dict[str, Callable[[], Tools]]] = {"variables": _variables, "analysis": _analysis}
"""The kinds of sessions, by name."""
