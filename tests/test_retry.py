import asyncio
import logging
import random
import time
from dataclasses import replace

import pytest
import stamina
from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks

from thread_cli.contracts.errors import ModelError, UserError
from thread_cli.contracts.model import Completion, Model, Request, Usage
from thread_cli.models.faulty import Faults, FaultyModel, parse_spec
from thread_cli.models.limiter import Limiter, limiter_for
from thread_cli.models.retry import Retrying, Transient, current_attempt

REQUEST = Request("q", "c", "y", ("=>", "#END#"), max_tokens=20)


class Echo:
    """Writes its prompt backwards, after `failures` that it raises first, one a call."""

    def __init__(self, *failures: Exception, seconds: float = 0.0):
        self.failures = list(failures)
        self.seconds = seconds
        self.calls = 0
        self.attempts: list[int] = []
        self.begun: list[float] = []

    async def complete(self, request: Request) -> Completion:
        self.calls += 1
        self.attempts.append(current_attempt())
        self.begun.append(time.monotonic())
        await asyncio.sleep(self.seconds)
        if self.failures:
            raise self.failures.pop(0)
        return Completion(request.prompt[::-1], "listen", Usage(prompt=3, generated=3))

    async def close(self) -> None:
        pass


def server_fault(retry_after: float | None = None) -> Transient:
    return Transient("server", "m at u: HTTP 500: broken", retry_after)


def test_retrying_and_faulty_models_are_models():
    assert isinstance(Retrying(Echo()), Model)
    assert isinstance(FaultyModel(Echo(), ""), Model)


async def test_a_retried_call_counts_its_retries_and_the_seconds_it_waited():
    model = Echo(server_fault(), server_fault(), seconds=0.05)
    began = time.monotonic()
    completion = await Retrying(model, wait_initial=0.02).complete(REQUEST)
    taken = time.monotonic() - began
    assert completion.text == "ycq"
    assert completion.retries == 2
    assert 0.06 <= completion.waited <= taken - 0.15 + 0.01
    assert model.attempts == [1, 2, 3]
    assert current_attempt() == 1


async def test_a_call_that_succeeds_at_once_reports_no_retry_and_no_wait():
    completion = await Retrying(Echo(seconds=0.02)).complete(REQUEST)
    assert completion.retries == 0
    assert completion.waited < 0.02


async def test_pauses_grow():
    model = Echo(*[server_fault() for _ in range(4)])
    await Retrying(model, wait_initial=0.01).complete(REQUEST)
    pauses = [after - before for before, after in zip(model.begun, model.begun[1:], strict=False)]
    assert [pause >= least for pause, least in zip(pauses, (0.01, 0.02, 0.04, 0.08), strict=True)] == [True] * 4


async def test_no_pause_is_shorter_than_the_server_asked_even_beyond_the_longest_pause():
    model = Echo(server_fault(0.15), server_fault(0.15))
    await Retrying(model, wait_initial=0.001, wait_max=0.01).complete(REQUEST)
    assert all(after - before >= 0.15 for before, after in zip(model.begun, model.begun[1:], strict=False))


async def test_the_last_failure_becomes_a_model_error_of_one_line():
    model = Echo(*[server_fault() for _ in range(9)])
    with pytest.raises(ModelError) as raised:
        await Retrying(model, attempts=3, wait_initial=0.001).complete(REQUEST)
    assert raised.value.message == "m at u: HTTP 500: broken; given up after 3 tries"
    assert model.calls == 3


async def test_a_model_error_is_not_retried():
    model = Echo(ModelError("wrong key"))
    with pytest.raises(ModelError, match=r"^wrong key$"):
        await Retrying(model, wait_initial=0.001).complete(REQUEST)
    assert model.calls == 1


async def test_an_endless_retry_after_is_not_waited_for():
    model = Echo(server_fault(86_400))
    with pytest.raises(ModelError, match="asks to wait 86400 s, not waiting"):
        await asyncio.wait_for(Retrying(model, limiter=Limiter()).complete(REQUEST), 1)


@pytest.mark.parametrize("phase", ["call", "pause", "queue", "held"])
async def test_cancelling_is_clean_at_every_await(phase):
    limiter = Limiter(initial=1)
    model = Echo(server_fault(), seconds=30 if phase == "call" else 0)
    retrying = Retrying(model, wait_initial=30, limiter=limiter)
    async with asyncio.timeout(5):
        if phase == "queue":
            busy = asyncio.create_task(Retrying(Echo(seconds=30), limiter=limiter).complete(REQUEST))
            await asyncio.sleep(0.01)
        elif phase == "held":
            limiter.hold(30)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.03):
                await retrying.complete(REQUEST)
        assert limiter.in_flight == (1 if phase == "queue" else 0)
        if phase == "queue":
            busy.cancel()
            with pytest.raises(asyncio.CancelledError):
                await busy
        assert limiter.in_flight == 0
        limiter._held_until = 0
        async with limiter.permit():
            assert limiter.in_flight == 1


async def test_retries_print_and_log_nothing(capfd, caplog):
    caplog.set_level(logging.DEBUG)
    await Retrying(Echo(server_fault(), server_fault()), wait_initial=0.001).complete(REQUEST)
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name != "asyncio"] == []


async def test_retries_of_other_users_of_stamina_are_still_told(caplog):
    failures = [OSError("theirs")]

    @stamina.retry(on=OSError, wait_initial=0.001, wait_jitter=0)
    async def work():
        if failures:
            raise failures.pop()

    before = get_on_retry_hooks()
    with caplog.at_level(logging.WARNING):
        await work()
    set_on_retry_hooks(before)
    assert [record.name for record in caplog.records] == ["stamina"]


# The limiter


async def test_a_limiter_admits_first_come_first_served_and_never_more_than_its_limit():
    limiter = Limiter(initial=3)
    order, most = [], 0

    async def call(number: int):
        nonlocal most
        async with limiter.permit():
            order.append(number)
            most = max(most, limiter.in_flight)
            await asyncio.sleep(0.001)

    await asyncio.gather(*(call(number) for number in range(20)))
    assert order == list(range(20))
    assert most == 3
    assert limiter.in_flight == 0


async def test_rate_limits_told_by_calls_under_way_together_halve_the_limit_once():
    limiter = Limiter(initial=8)
    started = asyncio.Event()

    async def call():
        async with limiter.permit() as permit:
            await started.wait()
            permit.rate_limited()

    tasks = [asyncio.create_task(call()) for _ in range(8)]
    await asyncio.sleep(0)
    started.set()
    await asyncio.gather(*tasks)
    assert limiter.limit == 4
    await call()
    assert limiter.limit == 2


async def test_the_limit_never_falls_below_one():
    limiter = Limiter(initial=2)
    for _ in range(5):
        async with limiter.permit() as permit:
            permit.rate_limited()
    assert limiter.limit == 1


async def test_a_window_of_successes_at_full_use_raises_the_limit_by_about_one():
    limiter = Limiter(initial=4, growth_pause=0)

    async def call():
        async with limiter.permit() as permit:
            await asyncio.sleep(0)
            permit.succeeded()

    await asyncio.gather(*(call() for _ in range(4)))
    assert 4 < limiter.limit <= 5
    before = limiter.limit
    await call()
    assert limiter.limit == before


async def test_server_faults_pause_growth_without_cutting_the_limit():
    limiter = Limiter(initial=1, growth_pause=0.05)
    async with limiter.permit() as permit:
        permit.struggled()
    for _ in range(3):
        async with limiter.permit() as permit:
            permit.succeeded()
    assert limiter.limit == 1
    await asyncio.sleep(0.06)
    async with limiter.permit() as permit:
        permit.succeeded()
    assert limiter.limit == 2


async def test_while_a_retry_after_runs_no_other_call_starts():
    limiter = Limiter()
    failing = Retrying(Echo(Transient("rate_limit", "slow down", 0.1)), limiter=limiter)
    other = Echo()
    began = time.monotonic()
    task = asyncio.create_task(failing.complete(REQUEST))
    await asyncio.sleep(0.01)
    completion = await Retrying(other, limiter=limiter).complete(REQUEST)
    assert other.begun[0] - began >= 0.1
    assert completion.waited >= 0.08
    await task


async def test_a_permit_is_not_held_during_a_pause():
    limiter = Limiter(initial=1)
    failing = asyncio.create_task(Retrying(Echo(server_fault()), wait_initial=0.2, limiter=limiter).complete(REQUEST))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(0.1):
        await Retrying(Echo(), limiter=limiter).complete(REQUEST)
    await failing


async def test_waiters_cancelled_at_random_leak_no_permit():
    limiter, chance = Limiter(initial=3), random.Random(0)

    async def call():
        async with limiter.permit():
            await asyncio.sleep(chance.random() * 0.002)

    tasks = [asyncio.create_task(call()) for _ in range(300)]
    while not all(task.done() for task in tasks):
        chance.choice(tasks).cancel()
        await asyncio.sleep(0 if chance.random() < 0.9 else 0.001)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert limiter.in_flight == 0
    assert sum(task.cancelled() for task in tasks) > 20
    assert sum(not task.cancelled() for task in tasks) > 20


def test_a_limiter_serves_one_event_loop_after_another():
    limiter = Limiter(initial=1)

    async def use(hold: float):
        async with limiter.permit():
            limiter.hold(hold)

    async def abandon():
        limiter.hold(30)
        waiting = asyncio.create_task(use(0))
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(abandon())
    limiter._held_until = 0
    asyncio.run(asyncio.wait_for(use(0), 2))
    assert limiter.in_flight == 0


def test_models_at_one_endpoint_share_a_limiter():
    assert limiter_for("http://a") is limiter_for("http://a")
    assert limiter_for("http://a") is not limiter_for("http://b")


# Injected faults


def requests(count: int) -> list[Request]:
    return [replace(REQUEST, c=f"context {number}") for number in range(count)]


async def outcome(model: Model, request: Request) -> str:
    try:
        return (await model.complete(request)).text
    except Transient as transient:
        return f"{transient.kind} {transient.retry_after}"


async def test_faults_befall_the_given_share_of_calls():
    model = FaultyModel(Echo(), "429=0.1,500=0.05,timeout=0.02,cut=0.05,garbage=0.03,seed=7,retry_after=0.01")
    seen = [await outcome(model, request) for request in requests(2000)]
    assert 140 <= seen.count("rate_limit 0.01") <= 260
    assert 60 <= seen.count("server 0.01") <= 140
    assert 20 <= seen.count("timeout None") <= 65
    assert 60 <= seen.count("cut_stream None") <= 140
    fine = {request.prompt[::-1] for request in requests(2000)}
    garbage = [text for text in seen if text not in fine and not text.startswith(("rate", "server", "timeout", "cut_"))]
    assert 30 <= len(garbage) <= 95


async def test_faults_do_not_depend_on_the_order_of_calls():
    def model() -> Retrying:
        return Retrying(
            FaultyModel(Echo(), "429=0.3,cut=0.2,seed=3,retry_after=0.001"), attempts=20, wait_initial=0.001
        )

    forwards, backwards = model(), model()
    first = await asyncio.gather(*(forwards.complete(request) for request in requests(50)))
    second = [await backwards.complete(request) for request in reversed(requests(50))]
    assert [each.retries for each in first] == [each.retries for each in reversed(second)]
    assert sum(each.retries for each in first) > 20


async def test_retries_hide_injected_faults():
    model = Retrying(
        FaultyModel(Echo(), "429=0.1,500=0.05,cut=0.05,retry_after=0.001"), attempts=12, wait_initial=0.001
    )
    results = await asyncio.gather(*(model.complete(request) for request in requests(200)))
    assert [result.text for result in results] == [request.prompt[::-1] for request in requests(200)]


async def test_a_cut_stream_cost_the_inner_model_a_call():
    inner = Echo()
    assert await outcome(FaultyModel(inner, "cut=1"), REQUEST) == "cut_stream None"
    assert inner.calls == 1


async def test_garbage_is_hostile_encodable_and_without_stop_strings():
    model = FaultyModel(Echo(), "garbage=1")
    texts = [(await model.complete(request)).text for request in requests(300)]
    for text in texts:
        text.encode()
        assert not any(stop in text for stop in REQUEST.stop)
    together = "".join(texts)
    assert all(junk in together for junk in ("\x1b[2J", "{", "while True", "__import__", "#EN"))


async def test_another_seed_gives_other_faults():
    spec = "429=0.5"
    seen = [
        [await outcome(FaultyModel(Echo(), f"{spec},seed={seed}"), each) for each in requests(30)] for seed in (1, 2, 1)
    ]
    assert seen[0] == seen[2] != seen[1]


def test_a_spec_is_read_in_full():
    spec = "429=0.1, 500=0.05,timeout=0.01,cut=0.05,garbage=0.02,seed=7,retry_after=0.01"
    assert parse_spec(spec) == Faults(0.1, 0.05, 0.01, 0.05, 0.02, 7, 0.01)
    assert parse_spec("seed=4") == Faults(seed=4)


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("502=0.1", "unknown fault '502'"),
        ("429", "429 needs a number"),
        ("429=often", "429 needs a number"),
        ("429=0.7,500=0.7", "add up to at most 1"),
        ("cut=-0.1", "between 0 and 1"),
        ("cut=nan", "between 0 and 1"),
        ("seed=1.5", "seed needs a whole number"),
        ("cut=0.1,cut=0.2", "given twice"),
        ("retry_after=-1", "a time in seconds"),
    ],
)
def test_a_wrong_spec_is_refused_in_one_line(spec, complaint):
    with pytest.raises(UserError, match=complaint) as raised:
        parse_spec(spec)
    assert "\n" not in raised.value.message
