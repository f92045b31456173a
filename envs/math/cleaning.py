"""Answers as they are written, brought to one plain LaTeX: signs, spaces, fractions, dollars and fonts in one spelling.

Nothing here decides a value. What cannot be told apart afterwards (the currency sign of `$5` and the delimiters of
`$5$`) is decided by `cleaned`, which returns the currency beside the text.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["cleaned", "close_of", "groups", "is_wrapped", "split"]

_SIGNS: Final = {
    "\u2212": "-", "\u2013": "-", "\u2014": "-", "\u00d7": r"\times ", "\u00b7": r"\cdot ", "\u22c5": r"\cdot ",
    "\u00f7": "/", "\u2215": "/", "\u2044": "/", "\u03c0": r"\pi ", "\u221e": r"\infty ", "\u00b0": r"^\circ ",
    "\u2264": r"\le ", "\u2265": r"\ge ", "\u2260": r"\ne ", "\u00b1": r"\pm ", "\u2213": r"\mp ", "\u222a": r"\cup ",
    "\u2208": r"\in ", "\u2205": r"\emptyset ", "\u2248": r"\approx ", "\u221a": r"\sqrt ", "\u00bd": r"\frac{1}{2}",
    "\u2153": r"\frac{1}{3}", "\u2154": r"\frac{2}{3}", "\u00bc": r"\frac{1}{4}", "\u00be": r"\frac{3}{4}",
    "\u2070": "^0", "\u00b9": "^1", "\u00b2": "^2", "\u00b3": "^3", "\u2074": "^4", "\u2075": "^5", "\u2076": "^6",
    "\u2077": "^7", "\u2078": "^8", "\u2079": "^9", "\u03b8": r"\theta ", "\u03b1": r"\alpha ", "\u03b2": r"\beta ",
    "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "", "\u2019": "'", "\u2018": "'", "\u201c": '"',
    "\u201d": '"', "\uff0c": ", ", "\uff1a": ":", "\uff08": "(", "\uff09": ")", "\u3002": ".",
}  # fmt: skip
_CURRENCIES: Final = {"\\$": "dollar", "\u20ac": "euro", "\u00a3": "pound sterling", "\u00a5": "yen", "\u20b9": "rupee"}
_REPLACED: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|[bB]igg?[lrm]?)(?![a-zA-Z])\s*\.?", ""),
        (r"\\(?:displaystyle|textstyle|limits|nolimits)(?![a-zA-Z])", ""),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\dbinom(?![a-zA-Z])|\\tbinom(?![a-zA-Z])", r"\\binom"),
        (r"\\(?:math(?:rm|it|bf|sf)|text(?:bf|it|rm|normal|sf)?|mbox|hbox|operatorname\*?)\s*\{", r"\\text{"),
        (r"\\!\s*", ""),
        (r"(?<!\\)\\[,;:> ]|~|\\q?quad(?![a-zA-Z])|\\hspace\{[^{}]*\}", " "),
        (r"\{,\}", ","),
        (r"\\(?:leq|leqslant)(?![a-zA-Z])", r"\\le "),
        (r"\\(?:geq|geqslant)(?![a-zA-Z])", r"\\ge "),
        (r"\\(?:lt)(?![a-zA-Z])", "<"),
        (r"\\(?:gt)(?![a-zA-Z])", ">"),
        (r"<=", r"\\le "),
        (r">=", r"\\ge "),
        (r"\\([lr](?:brace|vert|angle|paren|brack)|vert|mid)(?![a-zA-Z])", lambda found: _NAMED[found[1]]),
        (r"\\%", "%"),
        (r"\\#|\\&", " "),
        (r"\\(?:varnothing|O)(?![a-zA-Z])", r"\\emptyset"),
        (r"\*\*", "^"),
        (r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![a-zA-Z])|\\degrees?(?![a-zA-Z])", r"\\text{ degrees}"),
        (r"\s+", " "),
    )
)  # fmt: skip
_NAMED: Final = {
    "lbrace": "\\{", "rbrace": "\\}", "lvert": "|", "rvert": "|", "vert": "|", "mid": "|", "langle": "(", "rangle": ")",
    "lparen": "(", "rparen": ")", "lbrack": "[", "rbrack": "]",
}  # fmt: skip
_DELIMITERS: Final = re.compile(r"\\\(|\\\)|\\\[|\\\]|\$\$")
_PAIRS: Final = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}
_TOKEN: Final = re.compile(r"\\[a-zA-Z]+|\\.|.", re.DOTALL)


def cleaned(text: str) -> tuple[str, str]:
    """An answer in one spelling, without the delimiters of mathematics, and the currency that it names by a sign."""
    text = "".join(_SIGNS.get(sign, sign) for sign in text).strip()
    text = re.sub(r"^[*_`\"']{1,3}(.*?)[*_`\"']{1,3}(\.?)$", r"\1\2", text, flags=re.DOTALL)
    text = _DELIMITERS.sub(" ", text)
    currency = next((unit for sign, unit in _CURRENCIES.items() if sign in text), "")
    for sign in _CURRENCIES:
        text = text.replace(sign, "")
    if text.count("$") % 2 and re.search(r"\$\s*[-+]?[\d.]", text):
        currency = currency or "dollar"
    text = text.replace("$", "")
    for pattern, replacement in _REPLACED:
        text = pattern.sub(replacement, text)
    return _end(text), currency


def _end(text: str) -> str:
    """The text without the punctuation of a sentence around it."""
    text = text.strip().rstrip(".,;: ").strip()
    return text.strip('*`"').strip()


def groups(text: str) -> list[tuple[int, str]]:
    """The tokens of a text with the depth of brackets that each stands at. A bracket stands at the depth outside.

    Brackets need not match in kind, as those of half-open intervals do not; the depth never falls below zero.
    """
    found: list[tuple[int, str]] = []
    depth = 0
    for token in _TOKEN.findall(text):
        if token in _PAIRS.values():
            depth = max(0, depth - 1)
        found.append((depth, token))
        depth += token in _PAIRS
    return found


def split(text: str, separators: frozenset[str]) -> list[tuple[str, str]]:
    """The parts of a text between separators that stand in no brackets, each with the separator before it."""
    parts: list[tuple[str, list[str]]] = [("", [])]
    for depth, token in groups(text):
        if not depth and token in separators:
            parts.append((token, []))
        else:
            parts[-1][1].append(token)
    return [(before, "".join(tokens).strip()) for before, tokens in parts]


def close_of(text: str, start: int) -> int | None:
    """The place of the brace that closes the one at `start`; None where nothing closes it."""
    depth, place = 0, start
    while place < len(text):
        if text[place] == "\\":
            place += 2
            continue
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return place
        place += 1
    return None


def is_wrapped(text: str, opening: str, closing: str) -> bool:
    """Whether one pair of brackets holds the whole text."""
    tokens = groups(text)
    if len(tokens) < 2 or tokens[0] != (0, opening) or tokens[-1] != (0, closing):
        return False
    return all(depth for depth, _ in tokens[1:-1])
