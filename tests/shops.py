"""WebShop as several test files play it."""

import json

from thread_cli.contracts.environment import Task
from thread_cli.contracts.errors import Status
from thread_cli.engine.executor import Executor
from thread_cli.interpreters.variables import VariableInterpreter
from thread_cli.protocols.prompt import load
from thread_envs.webshop import WebShop
from thread_envs.webshop.generated import generate


async def opened(number: int = 169, **options) -> tuple[WebShop, str]:
    shop = WebShop(**options)
    return shop, await shop.reset(Task(f"fixed_{number}"))


async def play(shop: WebShop, tasks):
    interpreter = VariableInterpreter()
    prompt = load(None, "webshop")
    episodes = []
    for task in tasks:
        executor = Executor(model=shop.teacher(task), prompt=prompt, interpreter=interpreter, environment=shop)
        episodes.append(await executor.run(task, "webshop"))
    await interpreter.close()
    return episodes


def unsolved(tasks, episodes) -> list[str]:
    return [task.id for task, episode in zip(tasks, episodes, strict=True) if episode.status != Status.solved]


async def told(shop: WebShop, action: str) -> str:
    return (await shop.step(action)).observation


def written_files(folder, count: int = 240):
    made = generate(count)
    (folder / "items_shuffle.json").write_text(json.dumps(made.products))
    (folder / "items_ins_v2.json").write_text(json.dumps(made.attributes, indent=1))
    (folder / "items_human_ins.json").write_text(json.dumps(made.human))
    return folder
