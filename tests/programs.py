"""Longer pieces of bookkeeping code as models write it, and pairs of pieces of which the second goes on with the first."""

from __future__ import annotations

from pieces import PIECES

_PROGRAMS = r"""
inventory = {}
for item, n in [('log', 2), ('plank', 4), ('log', 1)]:
    inventory[item] = inventory.get(item, 0) + n
print(inventory)
---
from collections import defaultdict
groups = defaultdict(list)
for word in 'oak birch oak pine'.split():
    groups[word[0]].append(word)
print(dict(groups), groups['z'], len(groups))
---
def total(items):
    return sum(n for _, n in items)
total = total([('a', 1), ('b', 2)])
print(total)
---
class Bag:
    def __init__(self, items=()):
        self.items = list(items)
    def __len__(self):
        return len(self.items)
    def __repr__(self):
        return f'Bag({self.items})'
bag = Bag('ab')
bag.items.append('c')
print(bag, len(bag))
---
class Animal:
    sound = 'none'
    def speak(self):
        return f'{type(self).__name__} says {self.sound}'
class Dog(Animal):
    sound = 'woof'
    def speak(self):
        return super().speak() + '!'
print(Dog().speak(), isinstance(Dog(), Animal), Dog.__mro__[1].__name__)
---
from dataclasses import dataclass, field
@dataclass(order=True)
class Need:
    item: str
    count: int = 1
    notes: list = field(default_factory=list)
a, b = Need('log'), Need('plank', 4)
a.notes.append('x')
print(a, b, a < b, a == Need('log', 1, ['x']))
---
from enum import Enum
class Color(Enum):
    RED = 1
    BLUE = 'b'
print(Color.RED, Color('b').name, [c.value for c in Color], repr(Color.BLUE))
---
from typing import NamedTuple
class Point(NamedTuple):
    x: int
    y: int = 0
p = Point(1)
print(p, p.x, p._asdict(), p._replace(y=5))
---
def count():
    n = 0
    def step():
        nonlocal n
        n += 1
        return n
    return step
step = count()
step()
print(step(), step())
---
def numbers():
    x = 0
    while True:
        got = yield x
        x = got if got is not None else x + 1
g = numbers()
print(next(g), next(g), g.send(10), next(g))
---
squares = (x * x for x in range(3))
print(list(squares), list(squares))
---
def inner():
    yield from [1, 2]
    return 3
def outer():
    result = yield from inner()
    yield result
print(list(outer()))
---
try:
    {}['x']
except KeyError as error:
    print('missing', error, repr(error), error.args)
---
try:
    int('x')
except (TypeError, ValueError) as error:
    print(type(error).__name__, error)
else:
    print('no')
finally:
    done = True
---
class MissingItem(Exception):
    def __init__(self, item, count):
        super().__init__(f'{count} {item} missing')
        self.item = item
try:
    raise MissingItem('log', 2)
except MissingItem as error:
    print(error, error.item, isinstance(error, Exception))
---
class MissingItem(Exception):
    pass
raise MissingItem('log')
---
class Empty(Exception): pass
raise Empty
---
def risky():
    try:
        return 'try'
    finally:
        log.append('finally')
log = []
print(risky(), log)
---
try:
    try:
        1 / 0
    except ZeroDivisionError as error:
        raise ValueError('wrapped') from error
except ValueError as error:
    print(error, repr(error.__cause__))
---
def f(x=[]):
    x.append(len(x))
    return x
f()
print(f(), f([]))
---
fs = [lambda: i for i in range(3)]
print([f() for f in fs])
---
fs = [lambda i=i: i for i in range(3)]
print([f() for f in fs])
---
rows = [[0] * 3] * 2
rows[0][1] = 5
print(rows)
---
a = b = [1]
a += [2]
b = b + [3]
print(a, b, a is b)
---
x = 10
def show():
    print(x)
x = 20
show()
---
x = 1
def change():
    global x
    x = 2
change()
print(x)
---
def f():
    print(y)
    y = 1
y = 0
f()
---
def fib(n, memo={}):
    if n in memo: return memo[n]
    memo[n] = n if n < 2 else fib(n - 1) + fib(n - 2)
    return memo[n]
print(fib(50), len(fib.__defaults__[0]))
---
from functools import lru_cache
@lru_cache(maxsize=None)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
print(fib(80), fib.cache_info())
---
def twice(f):
    def wrapper(*args, **kwargs):
        return f(f(*args, **kwargs))
    return wrapper
@twice
def add(x):
    return x + 1
print(add(1), add.__name__)
---
from functools import wraps
def logged(f):
    @wraps(f)
    def wrapper(*args):
        calls.append((f.__name__, args))
        return f(*args)
    return wrapper
calls = []
@logged
def get(item, n): return f'{n} {item}'
print(get('log', 2), calls, get.__name__)
---
class Temperature:
    def __init__(self, c): self._c = c
    @property
    def f(self): return self._c * 9 / 5 + 32
    @f.setter
    def f(self, value): self._c = (value - 32) * 5 / 9
    @classmethod
    def freezing(cls): return cls(0)
    @staticmethod
    def unit(): return 'C'
t = Temperature.freezing()
t.f = 212
print(t._c, t.f, Temperature.unit())
---
class Stack:
    def __init__(self): self.data = []
    def __enter__(self): self.data.append('in'); return self
    def __exit__(self, kind, error, trace):
        self.data.append(kind and kind.__name__)
        return True
with Stack() as s:
    1 / 0
print(s.data)
---
from contextlib import contextmanager, suppress
@contextmanager
def noted(name):
    log.append('begin ' + name)
    yield name
    log.append('end ' + name)
log = []
with noted('x') as n, suppress(KeyError):
    {}[n]
print(log)
---
class Vector:
    def __init__(self, x, y): self.x, self.y = x, y
    def __add__(self, o): return Vector(self.x + o.x, self.y + o.y)
    def __mul__(self, k): return Vector(self.x * k, self.y * k)
    __rmul__ = __mul__
    def __eq__(self, o): return (self.x, self.y) == (o.x, o.y)
    def __str__(self): return f'<{self.x}, {self.y}>'
    def __bool__(self): return bool(self.x or self.y)
print(Vector(1, 2) + 2 * Vector(1, 1), Vector(0, 0) == Vector(0, 0), bool(Vector(0, 0)))
---
class Countdown:
    def __init__(self, n): self.n = n
    def __iter__(self): return self
    def __next__(self):
        if self.n <= 0: raise StopIteration
        self.n -= 1
        return self.n
    def __contains__(self, x): return x < self.n
print(list(Countdown(3)), 2 in Countdown(5), sum(Countdown(4)))
---
class Meta(type):
    def __new__(mcs, name, bases, space):
        space['tag'] = name.lower()
        return super().__new__(mcs, name, bases, space)
class Thing(metaclass=Meta): pass
print(Thing.tag, type(Thing).__name__)
---
class A:
    __slots__ = ('x',)
a = A()
a.x = 1
a.y = 2
---
from abc import ABC, abstractmethod
class Base(ABC):
    @abstractmethod
    def go(self): ...
Base()
---
match {'action': 'get', 'n': 3}:
    case {'action': 'get', 'n': int(n)} if n > 2:
        print('many', n)
    case _:
        print('other')
---
def kind(x):
    match x:
        case []: return 'empty'
        case [one]: return f'one {one}'
        case [first, *rest]: return f'{first} and {len(rest)}'
        case str() | bytes(): return 'text'
        case None: return 'none'
        case _: return 'else'
print([kind(x) for x in ([], [1], [1, 2, 3], 'a', None, 3)])
---
if (n := len('abcd')) > 3:
    print(n, [y := 1, y + 1])
---
first, *middle, last = range(5)
(a, b), c = (1, 2), 3
print(first, middle, last, a, b, c)
---
for i in range(5):
    if i == 3: break
else:
    print('no break')
print(i)
---
for n in range(2, 10):
    for d in range(2, n):
        if n % d == 0: break
    else:
        print(n, end=' ')
---
while True:
    x = 5
    break
print('done', x, sep='-', end='!\n')
---
d = {'a': 1, 'b': 2, 'c': 3}
del d['a']
removed = d.pop('b')
d.setdefault('x', []).append(1)
d.update(c=4)
print(d, removed, d.popitem(), list(d))
---
items = [3, 1, 2]
items.sort(reverse=True)
items.insert(1, 9)
items.extend('ab')
del items[0], items[-1]
items[1:3] = ['x']
print(items, items.pop(), items)
---
d = {'a': 1}
for k in d:
    d['b'] = 2
---
s = {1, 2}
s.add(3); s.discard(9); s.remove(1); s |= {7}
print(s, sorted(s), len(s))
---
text = '''Crafting recipes:
craft 4 planks using 1 log
craft 1 table using 4 planks'''
recipes = {}
for line in text.splitlines()[1:]:
    head, tail = line.removeprefix('craft ').split(' using ')
    n, name = head.split(' ', 1)
    recipes[name] = (int(n), [part.split() for part in tail.split(', ')])
print(recipes)
---
import re
line = 'craft 4 oak planks using 1 oak log'
m = re.match(r'craft (?P<n>\d+) (?P<item>.+) using (?P<rest>.+)', line)
print(m['n'], m.group('item', 'rest'), m.start('rest'), bool(m), m)
---
import sys
print('to the error', file=sys.stderr)
print('out')
print('err again', file=sys.stderr)
---
import sys
sys.stdout.write('written\n')
---
print('one')
print('two', end='')
x = 3
---
print('a', 'b', sep='')
print()
---
import io, contextlib
out = io.StringIO()
with contextlib.redirect_stdout(out):
    print('inside')
print(repr(out.getvalue()))
---
x = 5
x += 2; x *= 3; x -= 1; x //= 4; x **= 2; x %= 7; x <<= 2; x |= 1; x ^= 3; x &= 14
print(x)
---
matrix = [[1, 2], [3, 4]]
print([list(row) for row in zip(*matrix)], [x for row in matrix for x in row], sum(map(sum, matrix)))
---
names = ['b', 'a', 'C']
print(sorted(names), sorted(names, key=str.lower), max(names, key=lambda n: n.lower()), list(map(len, names)))
---
from operator import itemgetter
rows = [{'n': 'b', 'v': 2}, {'n': 'a', 'v': 2}, {'n': 'c', 'v': 1}]
print([r['n'] for r in sorted(rows, key=itemgetter('v', 'n'))])
---
from itertools import groupby
data = [('a', 1), ('a', 2), ('b', 3)]
print({k: [v for _, v in g] for k, g in groupby(data, key=lambda p: p[0])})
---
import heapq
queue = []
for cost, name in [(3, 'c'), (1, 'a'), (2, 'b')]:
    heapq.heappush(queue, (cost, name))
print([heapq.heappop(queue)[1] for _ in range(3)])
---
from collections import deque
graph = {'a': ['b', 'c'], 'b': ['d'], 'c': ['d'], 'd': []}
seen, queue = {'a'}, deque(['a'])
order = []
while queue:
    node = queue.popleft()
    order.append(node)
    for other in graph[node]:
        if other not in seen:
            seen.add(other)
            queue.append(other)
print(order)
---
def flatten(x):
    for item in x:
        if isinstance(item, list): yield from flatten(item)
        else: yield item
print(list(flatten([1, [2, [3, []]], 4])))
---
def depth(n):
    return 1 + depth(n + 1)
depth(0)
---
import random
random.seed(7)
deck = list(range(5))
random.shuffle(deck)
print(deck, random.random())
---
def f(a, b=2, *args, c, d=4, **kwargs):
    return a, b, args, c, d, kwargs
print(f(1, c=3), f(1, 2, 3, 4, c=5, e=6), f(*[1], **{'c': 2}))
---
def f(a, /, b, *, c): return a + b + c
print(f(1, b=2, c=3))
f(a=1, b=2, c=3)
---
x = 'global'
class C:
    x = 'class'
    def get(self): return x
    values = [x for _ in range(1)]
print(C().get(), C.x, C.values)
---
assert isinstance(3, int), 'never'
x: int = 'text'
y: list[int]
print(x, __annotations__)
---
def greet(name: str, times: int = 1) -> str:
    '''Greets.'''
    return ' '.join([f'hi {name}'] * times)
print(greet('you', 2), greet.__doc__, greet.__annotations__['return'].__name__)
---
if __name__ == '__main__':
    print('main')
---
import asyncio
async def work(n):
    await asyncio.sleep(0)
    return n * 2
async def all_of_it():
    return await asyncio.gather(work(1), work(2))
try:
    coroutine = all_of_it()
    print(type(coroutine).__name__)
finally:
    coroutine.close()
---
import asyncio
async def work(n):
    await asyncio.sleep(0)
    return n * 2
async def both():
    return await asyncio.gather(work(1), work(2))
print(asyncio.run(both()))
---
try:
    raise ExceptionGroup('several', [ValueError(1), KeyError('k')])
except* ValueError as group:
    print(group.exceptions)
except* KeyError as group:
    print('keys', group.exceptions)
---
import traceback
try:
    1 / 0
except ZeroDivisionError:
    print(traceback.format_exc().splitlines()[-1])
---
from string import Template
from textwrap import dedent
print(Template('$n $item').safe_substitute(n=3), dedent('''
    a
      b
''').strip())
---
d = {}
d['self'] = d
l = [1]
l.append(l)
print(d, l)
---
def apply(f, *args): return f(*args)
print(apply(max, 1, 2), apply(lambda: 'x'), apply(str.upper, 'a'), [*map(apply, [len, str], ['ab', 3])])
---
from decimal import Decimal, getcontext
getcontext().prec = 5
print(Decimal(1) / Decimal(3), Decimal('1.1') + Decimal('2.2'))
---
nested = {'a': {'b': {'c': 1}}}
value = nested.get('a', {}).get('x', {}).get('c', 'none')
print(value, nested['a']['b'], 'b' in nested['a'])
---
words = 'the cat the dog'.split()
counts = {w: words.count(w) for w in set(words)}
print(sorted(counts.items(), key=lambda kv: (-kv[1], kv[0])))
---
class Node:
    def __init__(self, value, next=None):
        self.value, self.next = value, next
node = Node(1, Node(2, Node(3)))
values = []
while node:
    values.append(node.value)
    node = node.next
print(values)
---
def gen():
    try:
        yield 1
        yield 2
    finally:
        print('closed')
for x in gen():
    break
print(x)
---
x = [1, 2, 3]
y = x
y.append(4)
z = x[:]
z.append(5)
print(x, z, x is y, x == z)
---
import copy
a = {'x': [1]}
b, c = copy.copy(a), copy.deepcopy(a)
a['x'].append(2)
print(b, c)
---
exec('q = 5\nprint(q + 1)')
print(q)
---
code = compile('a + 1', '', 'eval')
a = 2
print(eval(code), eval('a * 3'))
---
print(*[1, 2, 3], sep=', ')
print(*(), end='')
---
data = [('x', 3), ('y', 1)]
data.sort(key=lambda pair: pair[1])
names, values = zip(*data)
print(names, values, dict(data))
---
def check(n):
    if n < 0: raise ValueError(f'{n} is negative')
    return n ** 0.5
print([check(n) for n in (4, 9)])
check(-1)
---
import math as m
from math import floor as down, pi
print(m.ceil(2.5), down(2.5), round(pi, 3))
---
for i, (a, b) in enumerate(zip('xy', [1, 2])):
    print(i, a, b, sep=':')
---
try:
    undefined_name
except NameError as e:
    message = str(e)
print(message)
print(e)
---
lst = list('abc')
lst[5]
print('never')
---
t = (1, [2])
t[1].append(3)
print(t)
t[0] = 5
---
print([i for i in range(3)], i)
---
import warnings
warnings.warn('careful')
print('after')
---
x = 3
print(f'{x=} {x!r:>4} {x + 1 = }', f'{"a" if x else "b"}', f'{{}}', rf'\n{x}')
---
a = 257
big = [10 ** i for i in (0, 5, 20)]
print(big, sum(big), str(big[2])[:3], len(str(2 ** 200)))
---
from fractions import Fraction
share = Fraction(1, 3)
print(share, share * 2, share + 0.5, Fraction(0.5))
---
try:
    [].pop()
except IndexError as error:
    caught = error
print(repr(caught), caught)
---
import string
password = 'Ab1!'
print(any(c in string.punctuation for c in password), sum(map(str.isdigit, password)))
---
lines = iter(['a', 'b', ''])
print(list(iter(lambda: next(lines), '')))
---
print(sorted({'b': 1, 'a': 2}.items()), list(reversed({'x': 1, 'y': 2})), {**{'a': 1}} | {'a': 2})
---
import calendar
print(calendar.month(2024, 2).splitlines()[0].strip(), calendar.TextCalendar(6).formatweekheader(2))
"""
_PAIRS = r"""
def total(): return 3
total = total()
===
print(total)
---
places = range(3)
===
print([p for p in places], places)
---
d = {'b': 2, 'a': 1}
keys, values, items = d.keys(), d.values(), d.items()
===
d['c'] = 3
print(sorted(keys), sum(values), len(items), keys)
---
import re
pattern = re.compile(r'[0-9]+', re.I)
===
print(pattern.findall('3 of 12'), pattern)
---
import re
m = re.search(r'(?P<n>[0-9]+) (?P<w>[a-z]+)', 'get 3 planks')
===
print(m.span('w'), m['n'], m.groupdict(), m)
---
def make(n):
    return lambda x: x + n
add = make(5)
===
print(add(2))
---
from functools import partial
half = partial(int, base=2)
===
print(half('101'), half.keywords)
---
def a(): return 1
fs = [a, lambda: 2, max]
table = {'a': a}
===
print([f() for f in fs[:2]], fs[2](1, 3), table['a']() if table['a'] is a else 'other')
---
from collections import Counter
inv = Counter('aab')
===
inv['new'] += 1
print(inv.most_common(1), inv['new'], inv['none'], inv)
---
from collections import defaultdict
d = defaultdict(list)
===
d['b'].append(1)
print(dict(d), d)
---
from collections import deque
q = deque([1, 2], maxlen=3)
===
q.append(5); q.append(6)
print(q.popleft(), q)
---
from collections import OrderedDict, ChainMap, namedtuple
P = namedtuple('P', 'x y')
o, c, p = OrderedDict(a=1), ChainMap({'a': 1}), P(1, 2)
===
o.move_to_end('a'); c['b'] = 2
print(o, c, p, P(3, 4).x, isinstance(p, P))
---
class Bag:
    count = 0
    def __init__(self):
        self.items = []
        Bag.count += 1
bag = Bag()
===
bag.items.append('x')
other = Bag()
print(bag.items, Bag.count, isinstance(bag, Bag), type(other) is type(bag))
---
def f(x=[]):
    x.append(1)
    return len(x)
f()
===
print(f())
---
import random
random.seed(3)
first = random.random()
===
print(first, random.random(), random.choice([1, 2, 3]))
---
from random import choice, seed
seed(4)
===
import random
print(choice('abcdef'), random.random())
---
g = (x for x in [1, 2, 3])
next(g)
===
print(next(g), list(g), list(g))
---
squares = (x * x for x in [1, 2])
first = list(squares)
===
print(list(squares), first)
---
def numbers():
    n = 0
    while True:
        n += 1
        yield n
it = numbers()
next(it)
===
print(next(it), next(it))
---
a = [1]
b = a
===
b.append(2)
print(a, a is b)
---
rows = [[0] * 2] * 2
===
rows[0][0] = 1
print(rows)
---
items = ['a', 'b']
log = items.append
log('c')
===
log('d')
print(items)
---
x, y = 1, 2
del x
===
print(y)
print(x)
---
d = {'a': 1}
===
del d['a']
print(d)
---
from math import ceil, floor
import math as m
===
print(ceil(1.2), floor(1.8), m.pi)
---
class MyError(Exception):
    def __init__(self, code):
        super().__init__(f'code {code}')
        self.code = code
===
try:
    raise MyError(5)
except MyError as e:
    print(e, e.code)
---
try:
    1 / 0
except ZeroDivisionError as e:
    error = e
===
print(repr(error), isinstance(error, ArithmeticError))
raise error
---
from dataclasses import dataclass
@dataclass
class Need:
    item: str
    count: int = 1
need = Need('log')
===
need.count += 1
print(need, need == Need('log', 2))
---
from enum import Enum
class Color(Enum):
    RED = 1
c = Color.RED
===
print(c is Color.RED, c, Color(1), {Color.RED: 'x'}[c])
---
s = {'planks', 'stick', 'log'}
===
s.add('ore')
print(s, sorted(s))
---
s = frozenset('abc')
t = {s: 1}
===
print(s, t[frozenset('cba')], 'a' in s)
---
x = 5
def show(): return x
===
x = 6
print(show())
---
counter = 0
def bump():
    global counter
    counter += 1
bump()
===
bump()
print(counter)
---
def outer():
    total = []
    def add(x):
        total.append(x)
        return total
    def get(): return total
    return add, get
add, get = outer()
add(1)
===
add(2)
print(get(), add(3) is get())
---
import itertools
ids = itertools.count(1)
next(ids)
===
print(next(ids), next(ids))
---
z = zip([1, 2], 'ab')
e = enumerate('xy')
next(e)
===
print(list(z), list(e), list(z))
---
m = map(str, [1, 2])
f = filter(None, [0, 1])
===
print(list(m), list(f), list(m))
---
it = iter([1, 2, 3])
next(it)
===
print(next(it), list(it))
---
from functools import lru_cache
calls = []
@lru_cache
def slow(n):
    calls.append(n)
    return n * 2
slow(2)
===
slow(2); slow(3)
print(calls, slow.cache_info())
---
from decimal import Decimal, getcontext
getcontext().prec = 4
===
print(Decimal(1) / 3)
---
import math
math.tau = 3
===
print(math.tau)
---
import json
data = json.loads('{"a": [1, {"b": null}]}')
===
data['a'][1]['b'] = 2
print(json.dumps(data))
---
import datetime
day = datetime.date(2024, 2, 28)
step = datetime.timedelta(days=2)
===
print(day + step, step, repr(day))
---
from fractions import Fraction
f = Fraction(1, 3)
===
print(f + 1, f.numerator)
---
n = 10 ** 30
t = (1, 'a', None, 2.5, True, b'x')
===
print(n + 1, t, type(t[4]).__name__)
---
x = 0.1 + 0.2
y = float('inf')
z = -0.0
===
print(x, y, z, x == 0.3)
---
c = 3 + 4j
===
print(abs(c), c.real, c)
---
text = 'line one\nline {two}'
===
print(text.splitlines(), '{two}' in text)
---
data = b'\x00\xff'
arr = bytearray(b'ab')
===
arr.append(99)
print(data, arr, arr == b'abc')
---
import io
buffer = io.StringIO()
buffer.write('one')
===
buffer.write(' two')
print(buffer.getvalue(), buffer.tell())
---
x = [1]
x.append(x)
===
print(x, x[1] is x)
---
class Node:
    def __init__(self, v): self.v, self.next = v, None
a, b = Node(1), Node(2)
a.next, b.next = b, a
===
print(a.next.next is a, b.next.v)
---
class A:
    def hello(self): return 'a'
class B(A):
    def hello(self): return super().hello() + 'b'
b = B()
===
class C(B):
    def hello(self): return super().hello() + 'c'
print(b.hello(), C().hello(), isinstance(C(), A))
---
class P:
    @property
    def x(self): return self._x * 2
    @x.setter
    def x(self, v): self._x = v
    @classmethod
    def of(cls, v):
        p = cls(); p.x = v
        return p
p = P.of(2)
===
p.x = 5
print(p.x, P.of(1).x)
---
hello = 'a'.upper
===
print(hello())
---
import operator
by = operator.itemgetter('n')
===
print(sorted([{'n': 2}, {'n': 1}], key=by))
---
print = lambda *a: None
===
del print
print('back')
---
list = [1, 2]
===
print(list)
print(list('ab'))
---
print('first')
===
x = 1
---
import sys
sys.setrecursionlimit(400)
def f(n): return n and f(n - 1)
===
print(f(300))
f(500)
---
from types import SimpleNamespace
ns = SimpleNamespace(a=[1])
alias = ns.a
===
alias.append(2)
ns.b = 3
print(ns)
---
import heapq
h = [3, 1, 2]
heapq.heapify(h)
===
heapq.heappush(h, 0)
print(heapq.heappop(h), h)
---
from typing import NamedTuple, Optional
class Pt(NamedTuple):
    x: int
    y: Optional[int] = None
p = Pt(1)
===
print(p, p._replace(y=2), Pt._fields)
---
def gen():
    received = []
    while True:
        x = yield received
        received.append(x)
g = gen()
next(g)
===
g.send(1)
print(g.send(2))
---
from contextlib import contextmanager
@contextmanager
def tag(name):
    out.append('<' + name)
    yield
    out.append('>')
out = []
===
with tag('b'):
    out.append('x')
print(out)
---
a = 1
print(a
===
print(a)
---
x = 1
x = x + undefined
===
print(x)
---
x = [1, 2, 3]
for item in x:
    y = item
    if item == 2:
        raise ValueError(item)
===
print(item, y)
---
from string import Template
t = Template('$a and $b')
===
print(t.substitute(a=1, b=2))
---
import calendar
calendar.setfirstweekday(6)
===
print(calendar.firstweekday(), calendar.weekheader(2))
---
__all__ = ['a']
_hidden = 3
===
print(_hidden, __all__)
---
import collections.abc
class Box(collections.abc.Mapping):
    def __init__(self, **k): self.k = k
    def __getitem__(self, x): return self.k[x]
    def __iter__(self): return iter(self.k)
    def __len__(self): return len(self.k)
box = Box(a=1)
===
print(dict(box), box.get('z', 0), 'a' in box)
"""


def _parts(text: str) -> list[str]:
    return [part.strip("\n") for part in text.split("\n---\n")]


PROGRAMS = _parts(_PROGRAMS)
PAIRS = [tuple(part.strip("\n") for part in pair.split("===")) for pair in _parts(_PAIRS)]
CASES = [[piece] for piece in PIECES + PROGRAMS] + [list(pair) for pair in PAIRS]
