"""Recognises refusals of a prompt that is too long, in the words of many servers, whatever the status.

Refusals of a list of stop strings, of a rate, or of a number of generated tokens that the model never allows are other
failures.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["too_long"]

_TEXT: Final = r"(prompt|inputs?|messages?|conversation|history|context|sequence|query|document|text|tokens?)"
_BEYOND: Final = (
    r"(too (long|large|big|many)|exceed(s|ed|ing)?|longer than|larger than|greater than|more than|beyond"
    r"|over(flow\w*|runs?)?\b|must be (<=?|less|at most|no more|shorter|under)|can(not|'t) (exceed|fit)"
    r"|does ?n[o']t fit|do not fit|not fit|surpass\w*|out of range|should be (\[|less|at most|between))"
)
_SURE: Final = re.compile(
    r"context[ _-]?(length|window|size|limit)|exceed_context|max(imum)?[ _-]?(model|prompt|input|sequence|seq|context)"
    r"[ _-]?(len(gth)?|tokens|size)|max[ _-]?(seq|model)[ _-]?len|\bn_ctx\b|too many (input |prompt )?tokens"
    r"|(input|prompt|token|model token|context) (token )?limit|(prompt|input)\b[^.]{0,30}\btoo long"
    r"|reduce (the|your) (length|size|prompt|input|number|messages|amount)|shorten (the|your) (prompt|input|message)"
    r"|string[ _]above[ _]max[ _]length|request_too_large"
    # Chinese: too long, or beyond the limit.
    r"|超长|过长|超[过出].{0,16}(长度|上限|限制|最大)|(长度|上下文).{0,16}超[过出]",
    re.IGNORECASE,
)
_LIKELY: Final = re.compile(
    rf"\b{_TEXT}\b.{{0,100}}?\b{_BEYOND}|{_BEYOND}.{{0,60}}\b(context|tokens?|length)\b"
    r"|\blength\b.{0,30}\b(while|but) (the )?(limit|max)|(length|range)\b.{0,40}\bshould be \["
    r"|request\b.{0,40}\b(exceeds?|exceeded)\b.{0,40}\b(token|context|length|limit of \d+ tokens)",
    re.IGNORECASE | re.DOTALL,
)
_NOTHING_LEFT: Final = re.compile(
    r"max_(completion_|new_)?tokens\b.{0,60}(must be|at least|greater|positive|>=?).{0,40}(-\d+|\b0\b)"
    r"|max_(completion_|new_)?tokens\b.{0,30}(value|got)?\s*[=:]?\s*-\d+",
    re.IGNORECASE,
)
_OTHER: Final = re.compile(
    r"rate[ _-]?limit|too many requests|per[ -](minute|day|hour|second)|\b[tr]p[md]\b|quota"
    r"|\bstop(_sequences?| sequences?| strings?)?\b.{0,40}\b(too (long|many)|at most|maximum|up to)"
    r"|at most \d+ (completion|output|generated) tokens|timed? ?out|time limit|deadline|concurren",
    re.IGNORECASE,
)


def too_long(words: str, status: int, parameter: str = "") -> bool:
    """Whether a refusal with these words means that the prompt does not fit; `parameter` is the one that the refusal
    blames.
    """
    if status in (401, 402, 403) or parameter in ("stop", "temperature", "seed", "model"):
        return False
    sure = bool(_SURE.search(words) or _NOTHING_LEFT.search(words))
    if status == 413:
        return True
    if _OTHER.search(words) and not re.search(r"context[ _-]?(length|window|size)", words, re.IGNORECASE):
        return False
    return sure if status in (404, 429) or status >= 500 else sure or bool(_LIKELY.search(words))
