"""Code that attacks the session that runs it: it ends the session, keeps it busy, fills it, or sends lies from it.

As in `attacks`, each piece may bind `harm` and use the names that the suite gives it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ON_SESSIONS"]

_CONNECTION = """
import os, stat
links = []
for descriptor in range(3, 1024):
    try:
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            links.append(descriptor)
    except OSError:
        continue
"""

_ENDS: Final = {
    "a crash": "import ctypes\nctypes.string_at(0)",
    "a crash of the stack": "import sys\nsys.setrecursionlimit(10**9)\ndef f():\n    return f()\nf()",
    "a deep recursion": "def f():\n    return f()\nf()",
    "leaving": "import os\nos._exit(0)",
    "exiting": "import sys\nsys.exit(3)",
    "exiting by an error": "raise SystemExit(3)",
    "an interruption": "raise KeyboardInterrupt",
    "aborting": "import os\nos.abort()",
    "killing itself": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "stopping itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "closing all descriptors": "import os\nos.closerange(0, 1024)",
    "handlers of signals": """
import signal
for i in range(1, 32):
    try:
        signal.signal(i, lambda *_: None)
    except OSError:
        pass
while True:
    pass
""",
}

_LOOPS: Final = {
    "an endless loop": "while True:\n    pass",
    "a loop that catches all": """
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
""",
    "a long power": "x = 9**9**9",
    "a long multiplication": "a = 7**300000\nfor i in range(10):\n    a = a * a",
    "a slow expression": "import re\nre.match('(a+)+$', 'a' * 100 + 'b')",
    "a sleep": "import time\ntime.sleep(100)",
    "reading what nobody writes": "x = input('?')",
    "waiting for oneself": "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
    "many loops": "\n".join(f"for i in range({10**8 + n}): print(i) if i < 0 else None" for n in range(20)),
}

_SPACE: Final = {
    "a bomb of memory": "x = []\nwhile True:\n    x.append(' ' * 10**6 + str(len(x)))",
    "a long text": "x = 'a' * 10**11",
    "a long list": "x = [0] * 10**10",
    "a large array": "import numpy\nx = numpy.ones(10**11)",
    "shared memory": "import mmap\nx = mmap.mmap(-1, 10**11)",
    "a file in memory": "import os\nd = os.memfd_create('x')\nos.ftruncate(d, 10**12)\nharm = 1",
    "a large file": "with open('large', 'wb') as file:\n    while True:\n        file.write(bytes(10**6))",
    "a file of nothing": "import os\nd = os.open('sparse', os.O_RDWR | os.O_CREAT)\nos.ftruncate(d, 10**13)\nharm = 1",
    "filling the disk": """
i = 0
while True:
    i += 1
    with open(str(i), 'wb') as file:
        file.write(bytes(10**6))
""",
    "many files": "i = 0\nwhile True:\n    i += 1\n    open(str(i), 'w').close()",
    "deep folders": "import os\nwhile True:\n    os.mkdir('d', 0)\n    os.mkdir('e')\n    os.chdir('e')",
    "many descriptors": "import os\nx = []\nwhile True:\n    x.append(os.open('.', os.O_RDONLY))",
}

_OUTPUT: Final = {
    "endless printing": "while True:\n    print('x' * 100)",
    "a long line": "print('x' * 10**7)",
    "junk on the standard output": """
import os, sys
for i in (0, 1, 2):
    os.write(i, b'junk' * 10000)
print('junk', file=sys.__stdout__)
print('junk', file=sys.stderr)
""",
    "another standard output": """
import sys
sys.stdout = None
print('x')
sys.stdout = 3
sys.stderr = sys
print('y')
""",
    "junk on the connection": _CONNECTION + "for link in links:\n    os.write(link, b'junk' * 1000)",
    "a long message on the connection": _CONNECTION
    + "for link in links:\n    os.write(link, b'\\xff' * 8)\n    os.write(link, b'x' * 10**7)",
    "half a message on the connection": _CONNECTION
    + "for link in links:\n    os.write(link, bytes([0, 0, 100, 0, 0, 0, 0, 0]) + b'{')\n    os._exit(0)",
    "a forged message": _CONNECTION
    + """
import json
text = json.dumps({'printed': 3, 'error': [], 'gone': {}, 'names': {'not a name': {'held': 1}}}).encode()
for link in links:
    os.write(link, len(text).to_bytes(4, 'big') + bytes(4) + text)
""",
    "a nested message": _CONNECTION
    + """
for link in links:
    text = b'[' * 100000
    os.write(link, len(text).to_bytes(4, 'big') + bytes(4) + text)
""",
    "a forged call": _CONNECTION
    + """
import json
for said in ({'ask': 'nothing', 'args': [[], {}]}, {'ask': 3}, {'ask': 'close', 'args': 3}, [], 3, None):
    text = json.dumps(said).encode()
    for link in links:
        os.write(link, len(text).to_bytes(4, 'big') + bytes(4) + text)
""",
    "talking afterwards": _CONNECTION
    + """
import threading, time
def talk():
    while True:
        for link in links:
            os.write(link, b'junk')
        time.sleep(0.001)
threading.Thread(target=talk, daemon=True).start()
""",
    "listening on the connection": _CONNECTION
    + """
import threading
def listen():
    while True:
        for link in links:
            os.read(link, 100)
threading.Thread(target=listen, daemon=True).start()
""",
    "closing the connection": _CONNECTION + "for link in links:\n    os.close(link)\nwhile True:\n    pass",
}

_VALUES: Final = {
    "a value that will not be kept": "class A:\n    def __reduce__(self):\n        raise SystemExit\nx = A()",
    "a value that ends all": "import os\nclass A:\n    def __reduce__(self):\n        os._exit(7)\nx = A()",
    "a value that acts when it is read": """
class A:
    def __reduce__(self):
        return eval, ("__import__('pathlib').Path(%r).write_text('x')" % (OUTSIDE + '/new'),)
x = A()
""",
    "a value that lies": """
class A(dict):
    __class__ = int
    def __getattribute__(self, name):
        raise BaseException(name)
    def __eq__(self, other):
        raise BaseException
    def __hash__(self):
        raise BaseException
    def __str__(self):
        return 3
    __repr__ = __len__ = __iter__ = __bool__ = __str__
x = A()
y = [x]
z = {1: x}
""",
    "numbers and texts that are more": """
class Number(int):
    def __str__(self):
        raise BaseException
    __repr__ = __index__ = __eq__ = __str__
class Text(str):
    def __str__(self):
        while True:
            pass
    __repr__ = isidentifier = split = __str__
x = Number(3)
y = Text('a')
""",
    "an error that lies": """
class Trap(Exception):
    def __str__(self):
        raise Trap
    __repr__ = __str__
raise Trap('a')
""",
    "an error of many lines": "raise ValueError('a\\n' * 10**6)",
    "an error with a long name": "raise type('E' * 10**6, (Exception,), {})('x')",
    "a value in itself": "x = []\nx.append(x)\ny = {}\ny[1] = y\nz = (x, y)",
    "a deep value": "x = []\nfor i in range(100000):\n    x = [x]",
    "a long number": "x = 7**(10**6)\ny = 10**4299\nz = {y: y}",
    "many long numbers": "x = [10**i for i in range(5000)]",
    "a large value": "x = 'ab' * 10**8",
    "a large table": "import numpy\nx = numpy.ones(30 * 10**6)\ny = x + 1",
    "names that are none": "globals()['a b'] = 1\nglobals()[3] = 2\nglobals()['x' * 10**6] = 1\nglobals()['é\\n'] = 1",
    "no names left": "globals().clear()",
    "half a character": "x = '\\ud800' * 3\nprint(x)",
    "spoiled builtins": """
import builtins, json, os
for module in (builtins, json, os):
    for name in list(vars(module)):
        if name not in ('setattr', 'OSError', 'os', 'vars', 'list', 'write'):
            try:
                setattr(module, name, None)
            except BaseException:
                continue
""",
    "spoiled tools": """
import gc
for each in gc.get_objects():
    if type(each).__name__ in ('Session', '_Output', '_Places'):
        each.__dict__.clear()
""",
    "tracing": "import sys\nsys.settrace(lambda *_: 1 / 0)\nsys.setprofile(lambda *_: 1 / 0)\nx = 1 + len([])",
    "changed files for the next": """
import os
for name in ('json.py', 'pandas.py', 'sitecustomize.py', 'numpy.py'):
    open(name, 'w').write('raise SystemExit')
""",
    "deleting": "del given\ndel x",
}

ON_SESSIONS: Final[Mapping[str, str]] = {**_ENDS, **_LOOPS, **_SPACE, **_OUTPUT, **_VALUES}
"""Attacks by name."""
