"""Small pieces of bookkeeping code as models write it: no clock, no files, no network, no identities."""

from __future__ import annotations

_PRINTED = r"""
'oak planks'.replace('oak', 'birch').title()
' 3 planks '.strip().split()
'a,b,,c'.split(','), 'a  b'.split(), 'x'.join('abc')
'get 3 planks'.partition(' '), 'a.b.c'.rpartition('.')
'Craft'.lower(), 'craft'.upper(), 'cRaFt'.swapcase(), 'ß'.casefold()
'planks'.startswith(('pl', 'st')), 'planks'.endswith('ks')
'planks'.find('n'), 'planks'.rfind('z'), 'banana'.count('an'), 'banana'.index('n')
'abc'.center(9, '*'), 'abc'.ljust(5) + '|', 'abc'.rjust(5), '42'.zfill(5), '-42'.zfill(5)
'a\tb'.expandtabs(4), 'line\nbreak'.splitlines(), 'x\n'.splitlines(keepends=True)
'abc'.isalpha(), '12'.isdigit(), 'a1'.isalnum(), ' '.isspace(), 'Ab'.istitle(), 'x_1'.isidentifier()
'abc'.translate(str.maketrans('ab', 'xy', 'c')), str.maketrans({'a': 1})
'prefix-body'.removeprefix('prefix-'), 'body.txt'.removesuffix('.txt')
'{} of {}'.format(3, 4), '{0}{1}{0}'.format('a', 'b'), '{name!r:>8}'.format(name='x')
'%s has %d items (%.2f)' % ('box', 3, 2.5), '%5s|%-5s|%05d' % ('a', 'b', 7), '%x %o %e' % (255, 8, 12345.678)
f'{3:03d} {2.5:.1f} {1000000:,} {0.256:.1%} {255:#x} {5:b}'
f'{"left":<8}|{"right":>8}|{"mid":^8}|', f'{3.0!r} {"x"!s} {"é"!a}'
f'{1e10} {1e16} {1e-5} {0.1 + 0.2} {100.0} {float("inf")} {float("nan")}'
f'{12345.6789:.3e} {0.00001234:g} {1234567:g} {3:.2f} {-3:+d} {3: d}'
'x = 3; y = 4'.split('; '), [pair.split(' = ') for pair in 'x = 3; y = 4'.split('; ')]
'abcdef'[::-1], 'abcdef'[1:4], 'abcdef'[-2:], 'abcdef'[::2], 'abcdef'[10:]
'a' < 'b', 'Z' < 'a', 'abc' * 2, 'b' in 'abc', 'ac' in 'abc'
ord('a'), chr(9731), [ord(c) for c in 'hé'], '\u2603', ascii('é'), repr('it\'s "x"')
'one two'.encode(), b'abc'.decode(), b'\xff\x00'.hex(), bytes([65, 66]), bytes.fromhex('4142')
b'a-b'.split(b'-'), b'abc'[0], b'abc'[0:1], bytearray(b'ab') + b'c', list(b'ab')
'{:>{w}}'.format('x', w=5), format(3.14159, '.2f'), format(42, '08b'), format('x', '^5')
max('apple', 'pear', key=len), sorted('banana'), sorted('bAnana', key=str.lower), min('hello')
round(2.5), round(3.5), round(-2.5), round(2.675, 2), round(0.15, 1), round(1234, -2), round(2.5, 0)
7 // 2, -7 // 2, 7 % 3, -7 % 3, 7 / 2, 2 ** 10, 2 ** -1, divmod(-7, 2), 7.5 // 2, -7.5 % 2
abs(-3), abs(-2.5), pow(3, 4, 5), int(3.9), int(-3.9), int('0x1f', 16), int('101', 2), int(' 42 ')
float('1e3'), float(' 2.5 '), float('-inf'), 1e308 * 10, 0.1 + 0.2 == 0.3, 0.1 * 3
10 ** 20, 2 ** 100, -5 >> 1, 5 & 3, 5 | 3, 5 ^ 3, ~5, 1 << 10, (255).bit_length(), (10).to_bytes(2, 'big')
True + True, True == 1, bool([]), bool('0'), bool(0.0), not None, 3 and 5, 0 or 'x', None or 0
(3).real, (2.5).is_integer(), (0.5).as_integer_ratio(), (1.5).hex(), complex(1, 2) * 2, abs(3 + 4j)
1_000_000, 0b101, 0o17, 0xff, 1e3, 5e-324, 1.0, 1.10, 123456789012345678
sum([1, 2, 3]), sum([0.1] * 10), sum([[1], [2]], []), max([3, 1, 2]), min(3, 1), max([], default='none')
3 < 5 < 7, 1 < 3 > 2, 1 == 1.0, '1' == 1, (1, 2) < (1, 3), [1] < [1, 0], {1} <= {1, 2}
[1, 2] + [3], [0] * 3, [1, 2, 3][-1], [1, 2, 3][1:], 2 in [1, 2], len([1, [2, 3]]), [1, 2, 3][::-1]
[x * x for x in range(5) if x % 2], [(x, y) for x in 'ab' for y in (1, 2)], [[0] * 2 for _ in range(2)]
list(range(5)), list(range(2, 10, 3)), list(range(5, 0, -2)), range(5), range(0, 10, 2)[2], len(range(10)), 4 in range(0, 10, 2)
list(map(str, [1, 2])), list(map(str.strip, [' a', 'b '])), list(map(lambda x, y: x + y, [1, 2], [3, 4]))
list(filter(None, [0, 1, '', 'a'])), list(filter(lambda x: x > 1, [1, 2, 3])), list(filter(str.isdigit, 'a1b2'))
list(zip('ab', [1, 2, 3])), list(zip()), dict(zip('ab', [1, 2])), list(zip(*[(1, 2), (3, 4)])), list(enumerate('ab', 1))
sorted([3, 1, 2], reverse=True), sorted({'b': 1, 'a': 2}), sorted([('b', 1), ('a', 2)], key=lambda p: p[1])
sorted(['bb', 'a', 'ccc'], key=len), sorted([1, -3, 2], key=abs), sorted([(1, 'b'), (1, 'a')]), list(reversed([1, 2]))
any(x > 2 for x in [1, 2, 3]), all([]), all(x for x in [1, 0]), any([]), sum(x > 1 for x in [1, 2, 3])
next((x for x in [1, 5, 9] if x > 3), None), next(iter([]), 'none'), next(iter({'a': 1}))
[*range(3), *'ab'], {**{'a': 1}, 'b': 2}, (*[1], 2), {*[1, 1]}
[1, 2, 3].index(2), [1, 1, 2].count(1), [1, 2] == [1, 2], [1, 2] != (1, 2), [[]] * 2
(1,), (), (1, 2)[0], tuple('ab'), (1, 2) + (3,), (1, 2, 3)[1:], len((1,)), 1 in (1, 2), hash((1, 2)) == hash((1, 2))
{'a': 1}.get('b', 0), {'a': 1, 'b': 2}.items(), {'a': 1}.keys(), {'a': 1}.values(), list({'b': 1, 'a': 2})
{'a': 1} | {'b': 2}, {x: x * x for x in range(3)}, dict(a=1, b=2), dict([('x', 1)]), dict.fromkeys('ab', 0)
'a' in {'a': 1}, len({'a': 1}), {'a': 1} == {'a': 1}, {1: 'x', True: 'y'}, {'a': {'b': [1]}}['a']['b'][0]
max({'a': 1, 'b': 3}, key={'a': 1, 'b': 3}.get), sorted({'a': 2, 'b': 1}.items(), key=lambda item: item[1])
min({'x': 3, 'y': 1}.items(), key=lambda kv: kv[1]), sum({'a': 1, 'b': 2}.values()), {'a': 1}.keys() & {'a', 'b'}
{1, 2} | {3}, {1, 2} & {2}, {1, 2} - {2}, {1, 2} ^ {2, 3}, {1} < {1, 2}, {1, 2}.isdisjoint({3}), set('aab') == {'a', 'b'}
{'planks', 'stick', 'log'}, list({'c', 'b', 'a'}), set('hello world'), frozenset('ab'), set(), frozenset()
{3, 1, 2, 10, -1}, {'a', 1, (2, 3)}, {10, 20, 30, 40, 50, 60}, {str(i) for i in range(12)}
isinstance(3, int), isinstance(True, int), isinstance('a', (int, str)), issubclass(bool, int), type(3), type('a').__name__
type([]), type({}), type(None), int, str, len, print, max, range, type(lambda: 0).__name__, ValueError, type(ValueError('x'))
callable(len), callable(3), hasattr([], 'append'), getattr('abc', 'upper')(), getattr(3, 'nothing', 'none')
bin(10), oct(8), hex(255), hex(-1), str(3.0), str([1, 'a', None]), str({'a': (1,)}), repr({'x': "y'"})
None is None, [] is [], 1 if [] else 2, 'x' or 'y', '' or 'y', [] and 1, not 'a'
(lambda x, y=2: x + y)(1), (lambda *a, **k: (a, k))(1, b=2), (lambda: None)()
[f(3) for f in (abs, float, str)], [len(w) for w in 'get oak planks'.split()], [x for x in 'abc' if x not in 'b']
eval('1 + 2'), eval('[x for x in range(3)]'), eval('max(a)', {'a': [1, 3]}), str(eval("{'a': 1}"))
__name__, __doc__, Ellipsis, NotImplemented, ..., __debug__
slice(1, 3), 'abcdef'[slice(1, 3)], slice(None, 5, 2).indices(3), memoryview(b'abc')[1], bytes(memoryview(b'ab'))
chr(0x1F600), len('\U0001F600'), 'é' == 'e\u0301', 'ñ'.upper(), 'İ'.lower().__len__(), 'ﬁ'.upper()
int.from_bytes(b'\x01\x00', 'big'), (5).__add__(3), 'a'.__class__, [].__doc__[:8], (3).__class__.__name__
object, super, property, staticmethod, classmethod, type(type), type(object()), isinstance(int, type)
vars(type('T', (), {'x': 1}))['x'], type('Point', (), {'dims': 2}).dims, type('E', (Exception,), {}).__mro__[1]
"""
_IMPORTED = r"""
math|math.ceil(2.1), math.floor(-2.1), math.sqrt(16), math.gcd(12, 18), math.pi, math.factorial(5), math.hypot(3, 4)
math|math.isclose(0.1 + 0.2, 0.3), math.log(8, 2), math.log10(1000), math.exp(1), math.inf, math.nan, math.trunc(-2.5), math.comb(5, 2)
math|math.prod([1, 2, 3]), math.fsum([0.1] * 10), math.degrees(math.pi), math.sin(0), math.copysign(1, -0.0), math.modf(2.5), math.isqrt(17)
re|re.findall(r'[0-9]+', '3 planks, 12 logs'), re.sub('a', 'b', 'banana', count=1), re.split(r'[,;] *', 'a, b;c')
re|re.match(r'get ([0-9]+) (\w+)', 'get 3 planks').groups(), re.search('x', 'abc'), re.fullmatch('a+', 'aaa').group()
re|re.sub(r'[0-9]+', lambda m: str(int(m.group()) * 2), 'a4 b10'), re.sub(r'(\w+) (\w+)', r'\2 \1', 'a b')
re|re.search(r'(?P<n>[0-9]+) (?P<w>[a-z]+)', '3 planks').groupdict(), re.search(r'(?P<w>[a-z]+)', '3 planks').span('w')
re|[m.start() for m in re.finditer('a', 'banana')], re.escape('a.b*c'), re.findall(r'(\w)(\d)', 'a1 b2'), re.I, re.compile('a+', re.M)
re|re.match('a', 'b') is None, re.search('b(c)?', 'ab').groups(), re.subn('a', '', 'banana'), re.findall('(?i)A', 'aA'), re.search('a', 'cba')
json|json.dumps({'a': [1, 2.5, None, True], 'b': 'é'}), json.loads('{"x": [1, {"y": null}]}'), json.dumps([1, 2], indent=2)
json|json.dumps({'b': 1, 'a': 2}, sort_keys=True), json.dumps('a"b\n'), json.loads('1e3'), json.dumps({1: 2}), json.dumps('é', ensure_ascii=False)
json|json.loads('[1, 2]')[0], json.dumps({'x': (1, 2)}, separators=(',', ':')), json.dumps(float('nan')), json.loads('"\\u00e9"')
collections|collections.Counter('banana'), collections.Counter('banana').most_common(1), collections.Counter(a=1) + collections.Counter(a=2, b=1)
collections|collections.OrderedDict(a=1), collections.deque([1, 2, 3], maxlen=2), collections.defaultdict(int, a=1), collections.ChainMap({'a': 1}, {'b': 2})
collections|collections.namedtuple('P', 'x y')(1, 2), collections.namedtuple('P', ['x', 'y'])(x=1, y=2)._replace(y=3), collections.Counter([1, 1, 2])[3]
itertools|list(itertools.chain([1], [2])), list(itertools.combinations('abc', 2)), list(itertools.permutations([1, 2])), list(itertools.product('ab', [1]))
itertools|list(itertools.accumulate([1, 2, 3])), list(itertools.islice(itertools.count(5), 3)), [(k, list(g)) for k, g in itertools.groupby('aab')]
itertools|list(itertools.zip_longest('ab', 'c', fillvalue='-')), list(itertools.takewhile(lambda x: x < 3, [1, 2, 3])), list(itertools.pairwise('abc')), list(itertools.repeat(1, 2))
functools|functools.reduce(lambda a, b: a * b, [1, 2, 3, 4]), functools.partial(int, base=2)('101'), functools.reduce(max, [3, 1])
operator|operator.add(1, 2), sorted([{'n': 2}, {'n': 1}], key=operator.itemgetter('n')), operator.attrgetter('real')(3), operator.methodcaller('upper')('a')
operator|operator.itemgetter(1, 0)('ab'), operator.mul(3, 4), operator.contains([1], 1), operator.not_(0), operator.concat('a', 'b')
statistics|statistics.mean([1, 2, 3, 4]), statistics.median([1, 3, 2]), statistics.mode('aab'), statistics.pstdev([1, 2]), statistics.stdev([1, 2, 4])
statistics|statistics.mean([1, 2]), statistics.quantiles([1, 2, 3, 4], n=4), statistics.multimode('aabb'), statistics.fmean([1, 2]), statistics.variance([2, 4])
heapq|heapq.nsmallest(2, [3, 1, 2]), heapq.nlargest(1, [3, 1, 2]), list(heapq.merge([1, 3], [2])), heapq.nlargest(1, ['a', 'bb'], key=len)
bisect|bisect.bisect([1, 3, 5], 3), bisect.bisect_left([1, 3, 5], 3), bisect.bisect_right([], 1)
string|string.digits, string.ascii_lowercase[:3], string.punctuation, string.capwords('a b'), string.Template('$x y').substitute(x=1), string.whitespace
random|random.Random(3).random(), random.Random(3).sample(range(10), 3), random.Random('a').choice('abc'), random.Random(1).randint(1, 6)
random|random.seed(5), random.random(), random.choice([1, 2, 3]), random.randrange(10), random.uniform(1, 2), random.gauss(0, 1)
datetime|datetime.date(2024, 2, 29) + datetime.timedelta(days=1), datetime.date(2024, 1, 1).weekday(), datetime.datetime(2020, 1, 2, 3, 4).isoformat()
datetime|datetime.date(2024, 3, 1) - datetime.date(2024, 2, 1), datetime.timedelta(hours=36), datetime.date.fromisoformat('2024-05-06').strftime('%d %b %Y')
datetime|datetime.datetime.strptime('3 May 2021', '%d %B %Y'), datetime.timedelta(minutes=90) / 2, datetime.date(2020, 1, 1) < datetime.date(2021, 1, 1), datetime.time(9, 30)
decimal|decimal.Decimal('0.1') + decimal.Decimal('0.2'), decimal.Decimal(1) / 3, round(decimal.Decimal('2.675'), 2), decimal.Decimal('1.10').quantize(decimal.Decimal('0.1'))
fractions|fractions.Fraction(1, 3) + fractions.Fraction(1, 6), fractions.Fraction('0.25'), fractions.Fraction(3, 6).denominator, float(fractions.Fraction(1, 8))
textwrap|textwrap.wrap('the quick brown fox', 10), textwrap.dedent('  a\n  b'), textwrap.shorten('a long text here', 10), textwrap.indent('a\nb', '- ')
copy|copy.deepcopy([[1], {'a': 2}]), copy.copy({'a': [1]}), copy.deepcopy((1, [2]))
calendar|calendar.monthrange(2024, 2), calendar.isleap(1900), calendar.day_name[0], calendar.month_abbr[12]
unicodedata|unicodedata.name('é'), unicodedata.normalize('NFD', 'é') == 'e\u0301', unicodedata.category('a')
typing|typing.List[int], typing.Optional[str], typing.get_args(dict[str, int]), list[int], int | None, typing.Any
types|types.SimpleNamespace(a=1, b='x'), types.FunctionType.__name__, types.MappingProxyType({'a': 1})
string|''.join(c for c in 'a-b' if c in string.ascii_letters), string.Formatter().format('{0}', 3), string.hexdigits
base64|base64.b64encode(b'abc'), base64.b64decode('YWJj'), base64.b16encode(b'a')
hashlib|hashlib.md5(b'a').hexdigest(), hashlib.sha256(b'').hexdigest()[:8], sorted(hashlib.algorithms_guaranteed)[:2]
struct|struct.pack('>H', 258), struct.unpack('<I', b'\x01\x00\x00\x00'), struct.calcsize('ii')
shlex|shlex.split('get "oak planks" 3'), shlex.quote("it's")
difflib|difflib.get_close_matches('plank', ['planks', 'log']), round(difflib.SequenceMatcher(None, 'abc', 'abd').ratio(), 3)
ast|ast.literal_eval('[1, {"a": (2, 3)}]'), ast.dump(ast.parse('x + 1', mode='eval').body), ast.unparse(ast.parse('x=1'))
pprint|pprint.pformat({'b': [1, 2], 'a': 'x' * 10}), pprint.pformat(list(range(30)), width=40), pprint.pformat({'z': 1, 'a': {2: 3}}, sort_dicts=False)
csv, io|list(csv.reader(io.StringIO('a,b\n1,"x, y"\n'))), [dict(row) for row in csv.DictReader(io.StringIO('n,v\na,1'))]
io|io.StringIO('a\nb').read(), list(io.StringIO('a\nb')), io.BytesIO(b'ab').read(1), io.StringIO('x').getvalue()
enum|list(enum.Enum('Color', 'RED GREEN')), enum.Enum('Color', 'RED').RED.value, enum.IntEnum('Level', 'LOW HIGH').HIGH > 1
numbers|isinstance(3, numbers.Number), isinstance(2.5, numbers.Integral), issubclass(int, numbers.Rational)
keyword|keyword.iskeyword('for'), keyword.iskeyword('print'), len(keyword.kwlist) > 30
inspect|str(inspect.signature(lambda a, b=2, *c, d: 0)), inspect.isfunction(len), inspect.isclass(int), inspect.getdoc(len)[:6]
sys|sys.maxsize, sys.byteorder, sys.version_info >= (3, 11), sys.getrecursionlimit() > 100, sys.float_info.max, sys.argv[1:], sys.intern('a')
os|os.path.join('a', 'b.txt'), os.path.splitext('x.tar.gz'), os.path.basename('/a/b'), os.sep, os.path.normpath('a/../b')
pathlib|pathlib.PurePosixPath('/a/b.txt').stem, pathlib.PurePosixPath('a') / 'b', str(pathlib.PurePosixPath('a/b').parent), pathlib.PurePosixPath('x.y').suffix
dataclasses|dataclasses.make_dataclass('P', ['x'])(1), dataclasses.asdict(dataclasses.make_dataclass('P', ['x', 'y'])(1, [2]))
contextlib|contextlib.suppress(KeyError).__class__.__name__, contextlib.nullcontext(3).__enter__()
array|array.array('i', [1, 2]), array.array('d', [1.5]).tolist(), array.array('b', b'ab')[0]
zlib|zlib.crc32(b'abc'), zlib.decompress(zlib.compress(b'abc' * 10)), zlib.adler32(b'a')
secrets, hmac|hmac.new(b'k', b'm', 'sha256').hexdigest()[:10], secrets.compare_digest('a', 'a')
html|html.escape('<a & b>'), html.unescape('&lt;b&gt; &eacute;')
urllib.parse|urllib.parse.quote('a b/c'), urllib.parse.urlparse('http://x.org/p?q=1').query, urllib.parse.parse_qs('a=1&b=2')
uuid|uuid.UUID(int=5), uuid.uuid5(uuid.NAMESPACE_DNS, 'x'), str(uuid.UUID('12345678123456781234567812345678'))
cmath|cmath.sqrt(-1), abs(cmath.exp(1j)), cmath.phase(-1)
graphlib|list(graphlib.TopologicalSorter({'table': ['planks'], 'planks': ['log']}).static_order())
queue|queue.PriorityQueue().qsize(), queue.Queue().empty(), queue.deque([1]).pop()
collections.abc|isinstance([], collections.abc.Sequence), isinstance({}, collections.abc.Mapping), issubclass(set, collections.abc.Set)
reprlib|reprlib.repr(list(range(100))), reprlib.repr('x' * 100)
locale|locale.str(2.5), locale.format_string('%d', 1000)
timeit, time|time.strftime('%Y', time.gmtime(0)), time.gmtime(86400).tm_mday, callable(timeit.timeit)
"""
_FAILING = r"""
1 / 0
1 // 0.0
5 % 0
[1, 2][5]
(1,)[3]
'abc'[9]
{'a': 1}['b']
{1: 2}[(3, 4)]
{}.pop('x')
[].pop()
[1].remove(2)
[1, 2].index(9)
'abc'.index('z')
nowhere
print(nowhere)
x = y + 1
int('abc')
int('3.5')
int(None)
float('x')
int([])
'a' + 1
1 + 'a'
[1] + (2,)
None + 1
'a' - 'b'
'a' * 'b'
-'a'
len(3)
len(None)
sum(['a', 'b'])
max([])
min()
max(1, 'a')
sorted([1, 'a'])
[3, 'x', None].sort()
'x' < 1
None < 3
3()
'abc'()
None.get('x')
'abc'.push('d')
[].add(1)
{}.append(1)
(1, 2).append(3)
(3).upper()
'abc'[1] = 'x'
(1, 2)[0] = 3
x = [1, 2, 3]; x['a']
x = [1]; x[0][1]
a, b = 1, 2, 3
a, b = 1
a, *b = []
for i in 5: pass
for a, b in [1, 2]: pass
x = {}; x[[1]] = 2
{[1]: 2}
{[1]}
hash([])
iter(3)
next(iter([]))
open('nothing_here.txt')
import nothing_of_this_name
from math import nothing
from collections import Countre
import os.nothing
math.pi
raise ValueError
raise ValueError('bad value')
raise ValueError('a', 3)
raise KeyError('k')
raise RuntimeError from None
raise 3
raise Exception()
raise NotImplementedError('later')
raise StopIteration
raise AssertionError
assert False
assert 1 == 2, 'one is not two'
assert [], {'a': 1}
def f(a): pass; f()
f = lambda a: a; f()
f = lambda a: a; f(1, 2)
f = lambda a, *, b: a; f(1)
f = lambda: 0; f(x=1)
f = lambda a: a; f(1, a=2)
print(1, foo=2)
int(x=3)
'a'.join([1, 2])
'%d' % 'x'
'%s %s' % 'x'
'{}'.format()
'{x}'.format(y=1)
'{:d}'.format('x')
f'{3:z}'
chr(-1)
ord('ab')
range(1, 2, 0)
range('a')
round('x')
abs('x')
pow(2, -1, 4)
2 ** 'a'
10 ** 400 * 1.0
int('9' * 5000)
float(10 ** 400)
bytes([300])
b'abc' + 'd'
'abc' + b'd'
b'\xff'.decode()
'é'.encode('ascii')
'x'.encode('nothing')
list(zip([1], [1, 2], strict=True))
dict([1, 2])
dict([(1, 2, 3)])
set([[]])
isinstance(3, 'int')
issubclass(3, int)
getattr(3, 'nothing')
del nothing
x = 1; del x; x
del [1][3]
class A: pass; A().x
class A(3): pass
class A(int, str): pass
object().x = 3
int.x = 3
super().x
def f(): return x; x = 1
def f():
 return 1 +
if True:
while True print(1)
x = = 1
x = (1, 2
x = [1, 2)
print('a
print "hello"
def f(a, a): pass
def f(a=1, b): pass
f(a=1, 2)
return 3
yield 3
break
continue
await x
x += 1
1 = x
f() = 3
None = 3
x = 1 +
class: pass
for x in: pass
import
from x import
lambda: (yield
'abc' 'def' = 3
global x; x = 1; x + 'a'
nonlocal x
import math; math.sqrt(-1)
import math; math.factorial(-1)
import math; math.sqrt('a')
import math; math.log(0)
import math; math.nothing
import json; json.loads('{bad')
import json; json.loads('')
import json; json.dumps({1, 2})
import json; json.dumps(object)
import re; re.compile('(')
import re; re.match('a', None)
import re; re.match('a', 'b').group()
import re; re.search('a', 'a').group(3)
import re; re.sub('a', '\\9', 'a')
import datetime; datetime.date(2023, 2, 30)
import datetime; datetime.datetime.strptime('x', '%Y')
import datetime; datetime.date(2020, 1, 1) + 3
import statistics; statistics.mean([])
import random; random.choice([])
import random; random.sample([1], 3)
import decimal; decimal.Decimal('x')
import decimal; decimal.Decimal(1) / 0
import fractions; fractions.Fraction(1, 0)
import collections; collections.Counter(3)
import collections; collections.deque().pop()
import collections; collections.namedtuple('P', 'x y')(1)
import collections; collections.namedtuple('P', 'class')
import itertools; itertools.combinations('ab', -1)
import functools; functools.reduce(max, [])
import heapq; heapq.heappop([])
import enum; enum.Enum('C', 'A').B
import enum; enum.Enum('C', 'A')(5)
import copy; copy.deepcopy(x for x in [1])
import string; string.Template('$x').substitute()
import ast; ast.literal_eval('1 +')
import struct; struct.unpack('I', b'a')
import sys; sys.exit('stop')
import textwrap; textwrap.wrap('a', 0)
"""


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


def _with_import(line: str) -> str:
    modules, _, shown = line.partition("|")
    return f"import {modules}\nprint({shown})"


PIECES = [
    *(f"print({line})" for line in _lines(_PRINTED)),
    *map(_with_import, _lines(_IMPORTED)),
    *(
        line.replace("; ", "\n") if line.startswith(("import", "x =", "f =", "global")) else line
        for line in _lines(_FAILING)
    ),
]
