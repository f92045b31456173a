"""`python -P tracing.py FILE ARGUMENTS…`: a `thread` command, traced from its main function to the model's backend.

With the first call of the backend (`BACKENDS`) the process ends, and `FILE` gets a line of JSON for each call of a
function of `thread_cli`, in order: the function called, and the functions of `thread_cli` that wait for it, the nearest
first, each as `[file, name]`.

A call is what `sys.settrace` reports as one, with three exceptions. What runs because a module is imported is none
(the code of modules and classes, decorators, defaults). That a generator or coroutine goes on is none: only its
beginning is. And whoever makes a task of a coroutine is its caller, though it is the event loop that begins it; other
callbacks of the event loop, and the first function of a thread, have no caller.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import thread_cli

if TYPE_CHECKING:
    from types import FrameType

HOUSE: Final = f"{Path(thread_cli.__file__).parent}{os.sep}"
BACKENDS: Final = {f"{model}.{call}" for model in ("ScriptedModel", "LlamaModel") for call in ("complete", "stream")}
RESUMED: Final = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Tracer:
    """Notes calls until the backend is reached."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._calls: list[list[tuple[str, str]]] = []
        self._begun: set[FrameType] = set()
        """Generators and coroutines that have begun; held, so that no other frame takes their place."""
        self._tasks: dict[FrameType, list[tuple[str, str]]] = {}
        """For each coroutine that is a task, who waited when it was made one."""

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or frame in self._begun:
            return
        if code.co_name == "create_task" and code.co_filename.endswith("base_events.py"):
            self._tasks[frame.f_locals["coro"].cr_frame] = self._stack(frame) or []
        if not code.co_filename.startswith(HOUSE):
            return
        if code.co_flags & RESUMED:
            self._begun.add(frame)
        if (stack := self._stack(frame)) is not None:
            self._calls.append(stack)
            if code.co_qualname in BACKENDS:
                self._file.write_text("".join(f"{json.dumps(call)}\n" for call in self._calls))
                os._exit(0)

    def _stack(self, frame: FrameType | None) -> list[tuple[str, str]] | None:
        """Our functions on the stack, the newest first; None while a module is imported."""
        stack: list[tuple[str, str]] = []
        while frame is not None:
            code = frame.f_code
            if code.co_name == "<module>" and frame.f_globals["__name__"] != "__main__":
                return None
            if code.co_filename.startswith(HOUSE):
                stack.append((code.co_filename.removeprefix(HOUSE), code.co_qualname))
            if frame in self._tasks:
                return stack + self._tasks[frame]
            if code.co_name == "_run" and code.co_filename.endswith("asyncio/events.py"):
                return stack
            frame = frame.f_back
        return stack


if __name__ == "__main__":
    from thread_cli.cli.main import main

    tracer = Tracer(Path(sys.argv.pop(1)).absolute())
    threading.settrace(tracer)
    sys.settrace(tracer)
    main()
