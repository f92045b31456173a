"""Words of the invented catalogue: what its shop sells, in which choices, and what can be said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["KINDS", "MAKERS", "Kind"]

# One line a set of values; the values are separated by semicolons.
_VALUES: Final = """
clothes = x-small; small; medium; large; x-large; xx-large
packs = 1 count (pack of 1); 2 count (pack of 1); 4 count (pack of 2); 12 count (pack of 3)
weights = 4 ounce (pack of 1); 8 ounce (pack of 1); 8 ounce (pack of 6); 2 pound (pack of 1)
bottles = 1.7 fl oz; 3.4 fl oz; 8 fl oz (pack of 2); 16 fl oz
scents = unscented; cedar and sage; orange blossom; green fig; sea salt
flavours = original; smoked paprika; honey mustard; dark cocoa; sour cherry; lemon pepper
colours = black; white; navy; teal; olive; burgundy; coral; ivory; charcoal; lavender; mustard; turquoise
cables = 3 ft; 6 ft; 10 ft
tablets = 8 inch; 10 inch; 11 inch; 13 inch
cameras = 1 camera; 2 cameras; 4 cameras
blankets = 40x50 in; 50x60 in; 60x80 in
baskets = small; medium; large
finishes = black; white; walnut; ivory
blades = 4 inch; 6 inch; 8 inch
curtains = 42x63 in; 52x84 in; 52x96 in
shoes = 6; 7; 8; 9; 10; 11
litres = 15 l; 22 l; 30 l
tea bags = 15 count; 30 count; 60 count
"""

# A department: its category and name. A kind of product: the query that finds it, its name, its usual price in dollars,
# its choices with their sets of values, and in the line below it the attributes that it may have.
_SOLD: Final = """
= beauty | Beauty & Personal Care
body lotions | Body Lotion | 14 | scent: scents, size: bottles
  dry skin, sensitive skin, paraben free, cruelty free, shea butter, fast absorbing, dermatologist tested, plant based
hair masks | Hair Mask | 19 | size: bottles
  damaged hair, curly hair, argan oil, sulfate free, cruelty free, deep conditioning, salon quality, color treated hair
bar soaps | Bar Soap | 9 | scent: scents, size: packs
  cold pressed, palm oil free, sensitive skin, olive oil, hand cut, plastic free, long lasting, goat milk
makeup brushes | Makeup Brush Set | 24 | color: colours
  synthetic bristles, travel case, soft touch, easy clean, vegan friendly, bamboo handle, cruelty free, high density
electric toothbrushes | Electric Toothbrush | 39 | color: colours
  oral hygiene, soft bristles, rechargeable battery, travel size, water resistant, quiet motor, pressure sensor
travel bottles | Travel Bottle Kit | 12 | color: colours, size: packs
  leak proof, bpa free, easy clean, carry on approved, squeezable silicone, wide opening, labels included, food grade
= electronics | Electronics
wireless earbuds | Wireless Earbuds | 59 | color: colours
  noise cancelling, long battery life, water resistant, fast charging, touch control, low latency, carrying case
phone chargers | Phone Charger | 17 | color: colours, size: cables
  fast charging, braided cable, overheat protection, usb c port, travel size, foldable plug, wide compatibility
bluetooth speakers | Bluetooth Speaker | 45 | color: colours
  water resistant, deep bass, long battery life, hands free calls, shock proof, stereo sound, carry strap, voice control
tablet cases | Tablet Case | 22 | color: colours, size: tablets
  shock proof, pencil holder, auto wake, easy install, slim fit, non slip, faux leather, viewing stand
security cameras | Security Camera | 79 | size: cameras
  night vision, motion detection, easy install, weather proof, two way audio, cloud storage, high resolution
desk microphones | Desk Microphone | 49 | color: colours
  noise cancelling, plug and play, metal stand, mute button, usb c port, low latency, foam cover, studio quality
= garden | Home & Kitchen
desk lamps | Desk Lamp | 34 | color: colours
  dimmable light, usb charging port, eye caring, space saving, adjustable arm, touch control, memory function, wood base
throw blankets | Throw Blanket | 27 | color: colours, size: blankets
  machine washable, super soft, fade resistant, double sided, knitted texture, living room, all season
storage baskets | Storage Basket | 21 | color: colours, size: baskets
  space saving, hand woven, sturdy handles, living room, easy clean, natural fibre, foldable design, moisture proof
console tables | Console Table | 140 | color: finishes
  solid wood, easy assemble, space saving, living room, steel frame, storage shelf, scratch resistant, mid century
kitchen knives | Kitchen Knife | 41 | size: blades
  stainless steel, non stick, ergonomic handle, dishwasher safe, full tang, rust proof, gift box, hand forged
window curtains | Window Curtain | 33 | color: colours, size: curtains
  blackout lining, machine washable, energy saving, easy install, noise reducing, living room, wrinkle free, linen blend
= fashion | Clothing, Shoes & Jewelry
rain jackets | Rain Jacket | 64 | color: colours, size: clothes
  water resistant, hooded design, machine wash, zipper pockets, breathable lining, packable, reflective trim
running shorts | Running Shorts | 23 | color: colours, size: clothes
  quick drying, elastic waist, moisture wicking, zipper pockets, machine wash, high waist, drawstring closure
wool sweaters | Wool Sweater | 58 | color: colours, size: clothes
  long sleeve, hand wash, crew neck, merino wool, relaxed fit, ribbed cuffs, winter warm, non itch
walking shoes | Walking Shoes | 54 | color: colours, size: shoes
  arch support, rubber sole, memory foam, non slip, lace up, breathable mesh, wide toe, water resistant
linen shirts | Linen Shirt | 31 | color: colours, size: clothes
  button closure, short sleeve, machine wash, relaxed fit, chest pocket, breathable fabric, band collar
backpacks | Backpack | 49 | color: colours, size: litres
  laptop sleeve, water resistant, padded straps, carry on approved, bottle pockets, recycled fabric, hidden pocket
= grocery | Grocery & Gourmet Food
trail mixes | Trail Mix | 13 | size: weights
  gluten free, no added sugar, high protein, non gmo, resealable bag, dry roasted, dairy free, low sodium
roasted nuts | Roasted Nuts | 16 | flavor name: flavours, size: weights
  gluten free, low carb, keto friendly, dry roasted, non gmo, artificial flavors free, high protein, resealable bag
herbal teas | Herbal Tea | 11 | size: tea bags
  caffeine free, usda organic, individually wrapped, naturally sweet, plastic free, hand picked, fair trade, loose leaf
protein bars | Protein Bar | 25 | flavor name: flavours, size: packs
  plant based, low sugar, gluten free, soy free, high fiber, keto friendly, individually wrapped, shelf stable
pasta sauces | Pasta Sauce | 10 | size: weights
  no added sugar, low sodium, non gmo, fat free, usda organic, slow cooked, glass jar, kosher certified
seasoning blends | Seasoning Blend | 8 | flavor name: flavours
  gluten free, low sodium, no msg, small batch, kosher certified, shaker top, artificial colors free, family size
"""

_MAKERS: Final = """
Alderfen Brackwater Corvane Dunmere Elmhollow Fernlight Gullhaven Hartwold Inkerby Juniperhall Kestrelby Larkmoor
Marlowick Northsedge Oakhaven Pellworth Quillmere Rookhaven Saltmarsh Thistleby Umberfield Vellmoor Wrenfield Yarrowby
"""


@dataclass(frozen=True)
class Kind:
    """A kind of product. The price is in US dollars."""

    category: str
    department: str
    query: str
    name: str
    price: float
    choices: dict[str, tuple[str, ...]]
    attributes: tuple[str, ...]


def _lines(text: str) -> list[str]:
    return text.strip().split("\n")


def _kinds() -> list[Kind]:
    sets = {name: tuple(values.split("; ")) for name, values in (line.split(" = ") for line in _lines(_VALUES))}
    kinds: list[Kind] = []
    category = department = ""
    lines = iter(_lines(_SOLD))
    for line in lines:
        if line.startswith("= "):
            category, department = line.removeprefix("= ").split(" | ")
            continue
        query, name, price, choices = line.split(" | ")
        pairs = (choice.split(": ") for choice in choices.split(", "))
        values = {choice: sets[of] for choice, of in pairs}
        kinds.append(
            Kind(category, department, query, name, float(price), values, tuple(next(lines).strip().split(", ")))
        )
    return kinds


KINDS: Final = tuple(_kinds())
MAKERS: Final = tuple(_MAKERS.split())
