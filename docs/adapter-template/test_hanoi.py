"""The adapter holds what every adapter must hold. Install it first: pip install -e ."""

import asyncio

from thread_cli.conformance.environments import Verdict, check


def test_it_conforms() -> None:
    assert [verdict for verdict in asyncio.run(verdicts()) if verdict.outcome == "failed"] == []


async def verdicts() -> list[Verdict]:
    return [verdict async for verdict in check("hanoi")]
