"""A process that has imported the command line and forks a `thread` command on demand: `python -P warm.py SOCKET`.

Importing takes most of the time of a short command, and the tests give hundreds of them. A forked command is a process
like any other: it has its own arguments, environment, folder and exit, and its parent as `thread_cli.supervision`
makes it. Whatever a command imports by itself, it still imports by itself.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import socket
import sys
from pathlib import Path
from typing import Any

LONGEST = 1 << 17
"""Bytes of a request, which has to fit into one packet."""


def main() -> None:
    """Fork a command for each request; at the end of the socket, end.

    A request is a JSON object with `arguments`, `folder` and `environment`. With it come descriptors: the command's
    output and errors, and a pipe for its process id and its wait status, a line each.
    """
    control = socket.socket(fileno=int(sys.argv[1]))
    given = set(os.environ)
    import thread_cli.cli.app
    import thread_cli.cli.main  # noqa: F401 -- what `python -m thread_cli` imports

    made = {name: value for name, value in os.environ.items() if name not in given}
    threads = Path("/proc/self/task")
    assert not threads.is_dir() or len(list(threads.iterdir())) == 1, "a process with threads is not forked"
    gc.freeze()
    while True:
        packet, descriptors, *_ = socket.recv_fds(control, LONGEST, 3)
        if not packet:
            return
        if os.fork() == 0:
            control.close()
            request = json.loads(packet)
            request["environment"] = made | request["environment"]
            _attend(request, *descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        while _reaped():
            pass


def _attend(request: dict[str, Any], output: int, errors: int, ends: int) -> None:
    """Run the command in a child process and tell its end; only in the child does this return."""
    command = os.fork()
    if command:
        os.close(output)
        os.close(errors)
        os.write(ends, b"%d\n" % command)
        os.write(ends, b"%d\n" % os.waitpid(command, 0)[1])
        os._exit(0)
    os.close(ends)
    for descriptor, place in ((output, 1), (errors, 2)):
        os.dup2(descriptor, place)
        os.close(descriptor)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["thread_cli", *request["arguments"]]
    sys.path[:1] = [str(Path.cwd()), *filter(None, request["environment"].get("PYTHONPATH", "").split(os.pathsep))]
    runpy.run_module("thread_cli", run_name="__main__", alter_sys=True)


def _reaped() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


if __name__ == "__main__":
    main()
