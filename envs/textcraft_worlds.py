"""Made-up crafting worlds for TextCraft, one for each number: other items and recipes, in the shape of the real ones.

A world is made from its goal downwards, until one comes out that has the depth it should have and can be played within
the default limits. Names are put together from the words of real items, from words of other trades, or from syllables;
none is a goal of the real test set. A number stands for the same world everywhere.
"""

from __future__ import annotations

import functools
import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

__all__ = ["LISTED", "Made", "World", "make_world"]

LISTED: Final = 300
"""Worlds that a listing names; larger numbers are worlds too."""
_DEPTHS: Final = {1: 1, 2: 3, 3: 3, 4: 2, 5: 1}
"""How often a depth is drawn; shares in what follows are those of the commands of the real goals."""
_OUTPUTS: Final = {1: 46, 2: 6, 3: 7, 4: 23, 5: 1, 6: 6, 7: 1, 8: 10, 9: 1, 10: 1, 12: 1, 16: 1}
_COUNTS: Final = {1: 47, 2: 13, 3: 11, 4: 10, 5: 3, 6: 7, 7: 2, 8: 6, 9: 2}
_PARTS: Final = {1: 50, 2: 40, 3: 8, 4: 2}
_WORDS: Final = {1: 18, 2: 70, 3: 11, 4: 1}
_MOST_ROUNDS: Final = 12
_MOST_CALLS: Final = 100
_DEEPEST: Final = 10
_CHAINED: Final = 0.2
"""Share of the parts beside the first that are made in their turn, where depth is left."""
_SHARED: Final = 0.25
"""Share of the parts that another command uses too."""
_FAMILY: Final = 0.2
"""Share of the parts that are any item of a family."""


class Made(NamedTuple):
    """A recipe: `count` of an item out of so many of each part. `family` is the tag that the item has, if any."""

    count: int
    item: str
    parts: tuple[tuple[int, str], ...]
    family: str = ""

    @property
    def command(self) -> str:
        return f"craft {self.count} {self.item} using {', '.join(f'{count} {name}' for count, name in self.parts)}"


@dataclass(frozen=True, slots=True)
class World:
    """A goal, its depth, and all recipes of its world."""

    goal: str
    depth: int
    recipes: tuple[Made, ...]


def make_world(number: int, words: Sequence[Sequence[str]], taken: Collection[str]) -> World:
    """The world of that number.

    Args:
        number: any that is not negative.
        words: the words of each real item, in a fixed order.
        taken: names that no item has.
    """
    rng = random.Random(f"textcraft world {number}")
    depth = _drawn(rng, _DEPTHS)
    while True:
        maker = _Maker(rng, _Names(rng, words, taken))
        goal = maker.item(depth)
        maker.add_others(goal)
        world = World(goal, depth, tuple(maker.recipes))
        if _is_playable(world):
            return world


class _Maker:
    """Makes items with all that they are made of."""

    def __init__(self, rng: random.Random, names: _Names) -> None:
        self.recipes: list[Made] = []
        self._rng = rng
        self._names = names
        self._depths: dict[str, int] = {}
        self._families: dict[str, int] = {}

    def item(self, depth: int, *, family: str = "") -> str:
        """A new item of that depth; 0 is one to be got."""
        name = self._names.kind_of(family) if family else self._names.new()
        self._depths[name] = depth
        if depth:
            self._add(name, depth, family)
        return name

    def add_others(self, goal: str) -> None:
        """Add other ways to make things, and commands that use the same parts and lead nowhere."""
        made = [recipe for recipe in self.recipes if recipe.item != goal]
        for _ in range(self._rng.randint(0, 2) if made else 0):
            recipe = self._rng.choice(made)
            self._add(recipe.item, self._depths[recipe.item], recipe.family)
        if made and self._rng.random() < 0.15:
            self._add_circle(self._rng.choice(made).item)
        parts = list(dict.fromkeys(name for recipe in self.recipes for _, name in recipe.parts))
        for _ in range(self._rng.choice((3, 8, 14, 14, 14, 14))):
            self._add(self._names.new(), 1, first=self._rng.choice(parts))

    def _add(self, name: str, depth: int, family: str = "", first: str = "") -> None:
        wanted = _drawn(self._rng, _PARTS)
        parts = [first or self._part(depth - 1)]
        while len(parts) < wanted:
            chained = depth > 1 and self._rng.random() < _CHAINED
            part = self._part(self._rng.randrange(1, depth) if chained else 0)
            if part in parts or part == name:
                continue
            parts.append(part)
        if any(recipe.item == name and {part for _, part in recipe.parts} == set(parts) for recipe in self.recipes):
            # The package would take the first of two commands that use the same.
            return
        self._rng.shuffle(parts)
        counted = tuple((_drawn(self._rng, _COUNTS), part) for part in parts)
        self.recipes.append(Made(_drawn(self._rng, _OUTPUTS), name, counted, family))

    def _part(self, depth: int) -> str:
        """An item or a family of that depth, new or used before."""
        known = [name for name, its in (self._depths | self._families).items() if its == depth]
        if known and self._rng.random() < _SHARED:
            return self._rng.choice(known)
        if depth and self._rng.random() < _FAMILY * (1 + (depth == 1)):
            return self._family(depth)
        return self.item(depth)

    def _family(self, depth: int) -> str:
        family = self._names.new_family()
        self._families[family] = depth
        for _ in range(self._rng.randint(2, 9)):
            self.item(depth, family=family)
        return family

    def _add_circle(self, name: str) -> None:
        """Add that `name` can be packed and unpacked again, by longer commands than the one that makes it."""
        shortest = min(len(recipe.command) for recipe in self.recipes if recipe.item == name)
        count, pack = self._rng.choice((4, 9)), self._names.pack_of(name)
        unpack = Made(count, name, ((1, pack),))
        if len(unpack.command) > shortest:
            self.recipes += [unpack, Made(1, pack, ((count, name),))]


def _is_playable(world: World) -> bool:
    """Whether it has its depth, and whoever looks up the shortest command of each item makes the goal soon enough."""
    commands: dict[str, list[Made]] = {}
    families: dict[str, dict[str, None]] = {}
    for recipe in world.recipes:
        commands.setdefault(recipe.item, []).append(recipe)
        if recipe.family:
            families.setdefault(recipe.family, {})[recipe.item] = None
    if any(_is_ambiguous(family, kinds, commands) for family, kinds in families.items()):
        return False

    @functools.cache
    def cost(name: str, need: int) -> tuple[int, int, int]:
        """Model calls, levels of threads and most rounds, where equally short commands are taken at the worst."""
        if name in families:
            costs = [cost(kind, need) for kind in families[name]]
            return max(c for c, _, _ in costs) + 3, max(d for _, d, _ in costs) + 1, max(r for _, _, r in costs)
        if name not in commands:
            return 2, 1, 1
        shortest = min(len(recipe.command) for recipe in commands[name])
        calls, levels, most = 0, 0, 0
        for recipe in commands[name]:
            if len(recipe.command) > shortest:
                continue
            rounds = -(-need // recipe.count)
            if rounds > _MOST_ROUNDS:
                return _MOST_CALLS + 1, 0, 0
            below = [cost(part, rounds * count) for count, part in recipe.parts]
            calls = max(calls, sum(c for c, _, _ in below) + len(below) + rounds + 1)
            levels = max(levels, *(d + 1 for _, d, _ in below))
            most = max(most, rounds, *(r for _, _, r in below))
        return calls, levels, most

    calls, levels, _ = cost(world.goal, 1)
    return calls < _MOST_CALLS and levels < _DEEPEST and _depth(world) == world.depth


def _is_ambiguous(family: str, kinds: Collection[str], commands: Collection[str]) -> bool:
    """Whether an item has the family's name at its end and is not of it."""
    return any(name.endswith(f" {family}") and name not in kinds for name in commands) or family in commands


def _depth(world: World) -> int:
    """The depth of the goal: of each item by its best recipe, and of a recipe by its deepest part."""
    depths: dict[str, int] = {name: 0 for recipe in world.recipes for _, name in recipe.parts}
    made = {name for recipe in world.recipes for name in (recipe.item, recipe.family) if name}
    endless = len(world.recipes) + 1
    depths |= dict.fromkeys(made, endless)
    while True:
        before = dict(depths)
        for recipe in world.recipes:
            depth = 1 + max(depths[name] for _, name in recipe.parts)
            for name in (recipe.item, recipe.family):
                if name:
                    depths[name] = min(depths[name], depth)
        if depths == before:
            return depths[world.goal]


_FIRSTS: Final = (
    "amber ashen beech bitter blue brass bright broad cedar chalk clover coarse copper coral cotton crimson damp "
    "deep dried dusk faded fern fine flax frost gilded glazed golden gray green hazel heavy hemp hollow honey ivory "
    "jade knotted lacquered large light linen little lunar maple marble misty moss narrow northern oiled old opal "
    "orange painted pale pearl pine plain plum polished raw reed river rough royal ruby rustic salted sandy scarlet "
    "shaded silk silver slate small smoked soft solar southern spiced spun steel stitched striped strong sun sweet "
    "tall tarred thick thin tin twisted velvet violet walnut waxed white wild willow winter woven yellow young"
)
_LASTS: Final = (
    "anklet apron awning axle badge bag barley basket beam bell belt bench berry blade blanket board bobbin bolt "
    "bonnet braid bread bridle broom broth brush buckle bundle cable candle cap card cart cask chain chair charm "
    "cheese chisel cloak cloth coil collar cord cork crate crown cup curtain cushion dial disc doll drum dust fan "
    "felt fibre file flag flask flour flute fork frame garland gear glove grain gravel grip hammer hammock handle "
    "harness harp hat herb hinge hoop horn husk ink jar jug kettle key kite knife knob knot lace lamp lantern lash "
    "lens lid lock loom lute lyre mallet mask mast mat mesh mill mirror mitten mould nail needle net oar ore "
    "ornament paddle paint panel parcel paste peg pestle pillow pin pipe pole pouch press pulley purse quill quilt "
    "rack raft ribbon ring rope rug sack saddle sail salve sash saw scale scarf screen screw seal seed shaft sheet "
    "shoe shutter sieve sled sleeve soap sole spade spindle spool spoon spring staff stamp stool strap straw strip "
    "tablet tack tallow tar tarp tassel thimble thread tile tongs tray trellis trunk tube twine veil vial wagon wax "
    "wedge weight wheel whistle wick wire yarn yoke"
)
_ONSETS: Final = "b br c ch cl d dr f fl g gr h j k kl l m n p pl qu r s sh sk st t th tr v w z"
_VOWELS: Final = "a a e e i i o o u u ai ea ia oo ou y"
_CODAS: Final = "l ld m n nd ng r rk rn s st t x"


class _Names:
    """New names for items. A world has few words, so that its names are much alike."""

    def __init__(self, rng: random.Random, words: Sequence[Sequence[str]], taken: Collection[str]) -> None:
        self._rng = rng
        self._used = set(taken)
        self._families: list[str] = []
        style = rng.choices(("real", "trade", "syllables"), (6, 3, 2))[0]
        mixed = rng.random() < 0.25
        fronts: list[str] = []
        self._backs: list[str] = []
        for _ in range(rng.randint(28, 48)):
            front, back = _pair(rng, rng.choice(("real", "trade", "syllables")) if mixed else style, words)
            fronts.append(front)
            self._backs.append(back)
        self._fronts = fronts[: rng.randint(6, len(fronts))]

    def new(self) -> str:
        """A name of one to four words."""
        return next(name for name in self._tried() if not any(name.endswith(f" {each}") for each in self._families))

    def new_family(self) -> str:
        """The name of a family: no other name ends with it."""
        ends = {" ".join(words[at:]) for name in self._used for words in [name.split()] for at in range(len(words))}
        fitting = (name for name in self._tried() if name not in ends and len(name.split()) < 3)
        family = min(itertools.islice(fitting, 4), key=lambda name: len(name.split()))
        self._families.append(family)
        return family

    def kind_of(self, family: str) -> str:
        """The name of an item of a family."""
        return next(self._free(f"{front} {family}" for front in self._endless_fronts()))

    def pack_of(self, name: str) -> str:
        """The name of what many of an item are packed into."""
        return next(self._free(f"{name} {back}" for back in ("block", "crate", "bundle", *self._backs)), f"{name} pack")

    def _tried(self) -> Iterator[str]:
        return self._free(self._put_together() for _ in iter(int, 1))

    def _put_together(self) -> str:
        count = _drawn(self._rng, _WORDS)
        fronts = f"{self._rng.choice(self._fronts)} {next(self._endless_fronts())}".split()
        words = [*fronts[len(fronts) - count + 1 :], self._rng.choice(self._backs)]
        return " ".join(dict.fromkeys(words))

    def _endless_fronts(self) -> Iterator[str]:
        while True:
            # Where all are used up, syllables go on for ever.
            yield self._rng.choice(self._fronts) if self._rng.random() < 0.9 else _syllables(self._rng)

    def _free(self, names: Iterator[str]) -> Iterator[str]:
        for name in names:
            if name not in self._used:
                self._used.add(name)
                yield name


def _pair(rng: random.Random, style: str, words: Sequence[Sequence[str]]) -> tuple[str, str]:
    """What may stand at the front and at the back of a name."""
    if style == "real":
        several = [each for each in words if len(each) > 1]
        return " ".join(rng.choice(several)[:-1]), rng.choice(words)[-1]
    if style == "trade":
        return rng.choice(_FIRSTS.split()), rng.choice(_LASTS.split())
    return _syllables(rng), _syllables(rng)


def _syllables(rng: random.Random) -> str:
    count = rng.choice((1, 2, 2, 3))
    open_ones = [rng.choice(_ONSETS.split()) + rng.choice(_VOWELS.split()) for _ in range(count)]
    return "".join(open_ones) + (rng.choice(_CODAS.split()) if count == 1 or rng.random() < 0.5 else "")


def _drawn(rng: random.Random, shares: dict[int, int]) -> int:
    return rng.choices(list(shares), list(shares.values()))[0]
