"""What running a model's code costs: opening a session, a trivial call, reading a table; for both interpreters.

Run it with `python benchmarks/perf/interpreters.py`. It fails where a session takes 50 ms or more to open, or a trivial
call 2 ms or more, in the median.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

from thread_cli.interpreters.monty import MontyInterpreter
from thread_cli.interpreters.session import SessionInterpreter

if TYPE_CHECKING:
    from thread_cli.interpreters import Interpreter

OPENED, CALLED = 0.050, 0.002
"""Limits in seconds."""
TRIVIAL = "y = x + 1"
WRITE = """
rng = np.random.default_rng(0)
pd.DataFrame(rng.normal(size=(10_000, 5)), columns=list('abcde')).to_csv('table.csv', index=False)
"""


async def median(interpreter: Interpreter, code: str, times: int, *, anew: bool = False) -> float:
    """The median of the seconds that a call takes; `anew` in a thread that has no session yet."""
    seconds: list[float] = []
    for number in range(times):
        began = time.perf_counter()
        outcome = await interpreter.run(code, {"x": number}, thread=f"new {number}" if anew else "0")
        seconds.append(time.perf_counter() - began)
        if outcome.error:
            raise SystemExit(outcome.error)
    return statistics.median(seconds)


async def main() -> int:
    began = time.perf_counter()
    session, monty = SessionInterpreter(), MontyInterpreter()
    await session.run(TRIVIAL, {"x": 0}, thread="0")
    warm = time.perf_counter() - began
    await monty.run(TRIVIAL, {"x": 0}, thread="0")
    opened = await median(session, TRIVIAL, 50, anew=True)
    called = await median(session, TRIVIAL, 500)
    await session.run(WRITE, {}, thread="0")
    table = await median(session, "table = pd.read_csv('table.csv')", 50)
    reads = await median(session, "mean = pd.read_csv('table.csv').a.mean()", 50)
    print(f"{'':34} {'analysis':>10} {'variables':>10}")
    print(f"{'warming, once a process':34} {warm * 1e3:7.0f} ms {'':>10}")
    rows = {
        "first call of a thread, median": (opened, await median(monty, TRIVIAL, 50, anew=True)),
        "trivial call, median": (called, await median(monty, TRIVIAL, 500)),
        "read_csv of 10,000 rows, a figure": (reads, None),
        "read_csv of 10,000 rows, kept": (table, None),
    }
    for what, (ours, other) in rows.items():
        beside = f"{other * 1e3:7.2f} ms" if other is not None else ""
        print(f"{what:34} {ours * 1e3:7.2f} ms {beside:>10}")
    await session.close()
    await monty.close()
    return 0 if opened < OPENED and called < CALLED else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
