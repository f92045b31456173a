"""The budget of a bench run counts everything once."""

from __future__ import annotations

from thread_cli.assembly.config import Config
from thread_cli.bench import runner
from thread_cli.bench.budget import Allowance
from thread_cli.bench.plan import Plan
from thread_cli.bench.playing import Settings, run
from thread_cli.bench.suite import Part, Suite


async def test_tokens_are_charged_once_however_often_the_runner_looks_for_results_of_others(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_POLL", 0.001)
    charged: list[int] = []

    class Noting(Allowance):
        def charge(self, tokens: int, cost: float | None) -> None:
            charged.append(tokens)
            super().charge(tokens, cost)

    part = Part(environment="textcraft", split="all", tasks=40)
    plan = Plan.of(Suite(name="small", parts=(part,)), Config.of(model="teacher"))
    outcome = await run(plan, tmp_path / "run", Settings(concurrency=20, allowance=Noting()))
    assert sum(charged) == outcome.progress.tokens
