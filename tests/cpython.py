"""What the Python that runs the tests makes of pieces of code, in a process of its own with the hash seed 0."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

_REFERENCE = r"""
import __future__, ast, builtins, io, json, linecache, os, random, re, sys, types
from importlib.machinery import BuiltinImporter
from json import dumps, loads
limit, wanted, below = sys.setrecursionlimit, 1000, 0
raw = io.BytesIO()
answers = sys.stdout

def one_line(error):
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    text = re.sub(' at 0x[0-9a-f]+', '', ' '.join(text.split())[:300])
    return f'{type(error).__name__}: {text}' if text else type(error).__name__

def limited(number):
    global wanted
    limit(number + below)
    wanted = number

def depth():
    try:
        limit(1)
    except RecursionError as error:
        return int(re.search('depth ([0-9]+)', str(error))[1]) - 1

def ran(code, names):
    global below
    below = depth()
    limited(wanted)
    shown, flags, error = None, 0, None
    try:
        tree = ast.parse(code)
        compile(code, '<string>', 'exec', dont_inherit=True)
        for place, statement in enumerate(tree.body):
            if getattr(statement, 'module', None) == '__future__':
                for alias in statement.names:
                    flags |= getattr(__future__, alias.name).compiler_flag
            if place and isinstance(getattr(statement, 'value', None), ast.Constant) and isinstance(statement, ast.Expr):
                continue  # or it would be a docstring
            raw.seek(0); raw.truncate()
            try:
                exec(*(compile(ast.Module([statement], []), '<string>', 'exec', flags, dont_inherit=True), names))
            finally:
                shown = raw.getvalue().decode('utf-8', 'replace') or shown
    except BaseException as raised:
        error = one_line(raised)
    return shown and re.sub(' at 0x[0-9a-f]+', ' at 0x0', shown), error

def played(pieces, names):
    told = []
    for piece in pieces:
        if piece == '>>>':
            child, depth, end = [], 1, None
            for inner in pieces:
                depth += {'>>>': 1, '<<<': -1, '<<=': -1}.get(inner, 0)
                end = inner
                if not depth:
                    break
                child.append(inner)
            told += played(iter(child), names) if end == '<<=' else forked(lambda: played(iter(child), names))
        else:
            told.append(ran(piece, names))
    return told

def forked(work):
    ours, theirs = os.pipe()
    chance = random.getstate()
    if os.fork() == 0:
        random.setstate(chance)
        with os.fdopen(theirs, 'w') as answer:
            answer.write(dumps(work()))
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        told = loads(answer.read())
    os.wait()
    return told

def case(pieces):
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    for cache in (linecache.cache, getattr(linecache, '_interactive_cache', {})):
        cache.clear()  # or tracebacks would show lines of this program, from Python 3.13 on
    main = types.ModuleType('__main__')
    sys.modules['__main__'] = main
    main.__dict__.update(__builtins__=builtins, __loader__=BuiltinImporter)
    if sys.version_info < (3, 14):
        main.__dict__['__annotations__'] = {}
    sys.argv, sys.stdin = [''], open(os.devnull)
    sys.stdout = sys.__stdout__ = io.TextIOWrapper(raw, 'utf-8', newline='\n', write_through=True)
    random.seed(0)
    sys.setrecursionlimit, sys.getrecursionlimit = limited, lambda: wanted
    return played(iter(pieces), main.__dict__)

for pieces in json.load(sys.stdin):
    answers.write(dumps(forked(lambda: case(pieces))) + '\n')
    answers.flush()
"""


def expected(cases: list[list[str]]) -> list[list[tuple[Any, Any]]]:
    """For each case, for each of its pieces: what its last statement that printed has printed, and its error."""
    done = subprocess.run(
        [sys.executable, "-c", _REFERENCE],
        input=json.dumps(cases),
        env={**os.environ, "PYTHONHASHSEED": "0", "TZ": "UTC", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [[tuple(each) for each in json.loads(line)] for line in done.stdout.splitlines()]
