"""What running a model's code costs: opening a session, a trivial call, reading a table; for all interpreters.

Run it with `python benchmarks/perf/interpreters.py`. It fails where a session takes 50 ms or more to open, or a trivial
call 2 ms or more, in the median, or one for variables more than 5 times as long as in the subset.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

from thread_cli.interpreters.monty import MontyInterpreter
from thread_cli.interpreters.session import SessionInterpreter
from thread_cli.interpreters.variables import VariableInterpreter

if TYPE_CHECKING:
    from thread_cli.contracts.interpreter import Interpreter

OPENED, CALLED, TIMES = 0.050, 0.002, 5
"""Limits: seconds, and how many times as much as the subset a call for variables may take."""
TRIVIAL = "y = [x][0] + 1"
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
    session = SessionInterpreter()
    await session.run(TRIVIAL, {"x": 0}, thread="0")
    warm = [time.perf_counter() - began]
    others = [VariableInterpreter(), MontyInterpreter()]
    for each in others:
        began = time.perf_counter()
        await each.run(TRIVIAL, {"x": 0}, thread="0")
        warm.append(time.perf_counter() - began)
    opened = [await median(each, TRIVIAL, 50, anew=True) for each in (session, *others)]
    called = [await median(each, TRIVIAL, 500) for each in (session, *others)]
    await session.run(WRITE, {}, thread="0")
    rows = {
        "warming, once a process": warm,
        "first call of a thread, median": opened,
        "trivial call, median": called,
        "read_csv of 10,000 rows, a figure": [await median(session, "mean = pd.read_csv('table.csv').a.mean()", 50)],
        "read_csv of 10,000 rows, kept": [await median(session, "table = pd.read_csv('table.csv')", 50)],
    }
    print(f"{'':34} {'analysis':>13} {'variables':>13} {'the subset':>13}")
    for what, seconds in rows.items():
        print(f"{what:34}" + "".join(f" {each * 1e3:10.2f} ms" for each in seconds))
    for each in (session, *others):
        await each.close()
    return 0 if opened[0] < OPENED and called[0] < CALLED and called[1] < TIMES * called[2] else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
