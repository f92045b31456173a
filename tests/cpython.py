"""What the Python that runs the tests makes of pieces of code, in a process of its own with the hash seed 0."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

_REFERENCE = r"""
import ast, builtins, contextlib, io, json, os, sys, types, warnings
warnings.simplefilter('ignore')

def one_line(error):
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    text = ' '.join(text.split())[:300]
    return f'{type(error).__name__}: {text}' if text else type(error).__name__

def ran(code, names):
    shown, out = None, io.StringIO()
    try:
        tree = ast.parse(code)
        compile(code, '<string>', 'exec')
        flags = 0
        for statement in tree.body:
            out.seek(0); out.truncate()
            with contextlib.redirect_stdout(out):
                try:
                    exec(compile(ast.Module([statement], []), '<string>', 'exec', flags), names)
                finally:
                    shown = out.getvalue() or shown
    except BaseException as error:
        return shown, one_line(error)
    return shown, None

def case(pieces):
    main = types.ModuleType('__main__')
    sys.modules['__main__'] = main
    main.__dict__.update(__builtins__=builtins, __annotations__={})
    sys.setrecursionlimit(1005)
    return [ran(piece, main.__dict__) for piece in pieces]

for pieces in json.load(sys.stdin):
    ours, theirs = os.pipe()
    if os.fork() == 0:
        os.dup2(os.open(os.devnull, os.O_RDWR), 2)
        os.write(theirs, json.dumps(case(pieces)).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, 'rb') as answer:
        print(answer.read().decode(), flush=True)
    os.wait()
"""


def expected(cases: list[list[str]]) -> list[list[tuple[Any, Any]]]:
    """For each case, for each of its pieces: what its last statement that printed has printed, and its error."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _REFERENCE],
        input=json.dumps(cases),
        env={**os.environ, "PYTHONHASHSEED": "0", "TZ": "UTC", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [[tuple(each) for each in json.loads(line)] for line in done.stdout.splitlines()]
