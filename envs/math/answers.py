"""Which part of a text is the answer: the last box, else the words behind `answer is`, else the last line."""

from __future__ import annotations

import re
from typing import Final

from thread_envs.math.cleaning import close_of
from thread_envs.math.reading import is_read, reading

__all__ = ["answer_in", "gold_in"]

_LONGEST: Final = 8000
"""Characters at the end of a text in which the answer is looked for."""
_BOX: Final = re.compile(r"\\f?boxed\s*")
_CALLED: Final = re.compile(
    r"\b(?:final\s+)?answers?\b(?:\s+to\s+(?:the|this)\s+(?:question|problem))?[*_\"']*\s*(?:is|=|:|are)[*_]*\s*:?|####",
    re.IGNORECASE,
)
_SENTENCE: Final = re.compile(r"(?<=[^\s.])[.?](?=\s+[A-Z\\]|\s*$)")
_REGION: Final = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_DISPLAY: Final = re.compile(r"\$\$.+?\$\$|\\\[.+?\\\]", re.DOTALL)
_ESCAPES: Final = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\v": r"\v"}
_TABS: Final = re.compile(r"\t(?=(?:imes|ext|frac|heta|an)\b)")
_NUMBER: Final = re.compile(
    r"[-+]?\$?\s?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?(?:\s?/\s?\d+)?\s?%?|[-+]?\.\d+"
)
_PROSE: Final = re.compile(r"(?<![\\a-zA-Z{])[A-Za-z]{2,}(?![a-zA-Z}])")


def gold_in(text: str) -> str:
    """The answer in a solution of a data set: behind the last `####`, in the last box, or all of it."""
    if "####" in text:
        return text.rpartition("####")[2].strip()
    box = _last_box(text)
    return (text if box is None else box).strip()


def answer_in(text: str) -> str:
    """The answer in a text that a model wrote; empty where there is none.

    It is the content of the last box. Without a box it is the rest of the sentence behind the last `answer is`,
    `answer:` or `####`; without those it is the last line. Of a line of prose it is the part that `_of_prose` says.
    """
    text = text[-_LONGEST:]
    text = _DISPLAY.sub(lambda found: found[0].replace("\n", " "), _unescaped(text))
    box = _last_box(text)
    if box is not None:
        return box.strip()
    called = next(reversed([*_CALLED.finditer(text)]), None)
    if called:
        lines = [line for line in text[called.end() :].split("\n") if line.strip(" *:_")]
    else:
        lines = [line for line in text.split("\n") if line.strip(" *`_")][-1:]
    if not lines:
        return ""
    return _of_prose(_SENTENCE.split(lines[0].strip(), 1)[0].strip() if called else lines[0].strip())


def _unescaped(text: str) -> str:
    r"""LaTeX that went through a string of Python: `"\boxed"` is a backspace and `oxed` there."""
    return _TABS.sub(r"\\t", "".join(_ESCAPES.get(sign, sign) for sign in text))


def _last_box(text: str) -> str | None:
    """The content of the last box; of one that nothing closes, the rest of its line."""
    found = next(reversed([*_BOX.finditer(text)]), None)
    if not found:
        return None
    start = found.end()
    if text[start : start + 1] != "{":
        return text[start : start + 1]
    end = close_of(text, start)
    return text[start + 1 : end] if end else text[start + 1 :].partition("\n")[0]


def _of_prose(line: str) -> str:
    """The answer in a line: the line itself, unless it is a sentence about the answer.

    In a sentence it is the only part between signs of mathematics, else what stands behind the last equals sign or the
    last `is`, else the only number. Where there are two numbers, neither is the answer.
    """
    if is_read(reading(line)) or len(_PROSE.findall(line)) < 2:
        return line
    regions = [next(filter(None, match.groups())) for match in _REGION.finditer(line)]
    tries = regions if len(regions) == 1 else []
    tries += [line.rpartition(sign)[2] for sign in ("=", " is ", " are ") if sign in line]
    numbers = [match[0] for match in _NUMBER.finditer(line)]
    tries += numbers if len(numbers) == 1 else []
    if not numbers and " is " in line:
        return line.rpartition(" is ")[2].strip()
    return next((part.strip() for part in tries if is_read(reading(part))), line)
