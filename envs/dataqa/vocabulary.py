"""Identifiers of Data Commons in plain words, and words brought to a form in which they can be compared."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["STATES", "described", "stems"]

STATES: Final = {
    "01": "Alabama", "02": "Alaska", "04": "Arizona", "05": "Arkansas", "06": "California", "08": "Colorado",
    "09": "Connecticut", "10": "Delaware", "11": "District of Columbia", "12": "Florida", "13": "Georgia",
    "15": "Hawaii", "16": "Idaho", "17": "Illinois", "18": "Indiana", "19": "Iowa", "20": "Kansas", "21": "Kentucky",
    "22": "Louisiana", "23": "Maine", "24": "Maryland", "25": "Massachusetts", "26": "Michigan", "27": "Minnesota",
    "28": "Mississippi", "29": "Missouri", "30": "Montana", "31": "Nebraska", "32": "Nevada", "33": "New Hampshire",
    "34": "New Jersey", "35": "New Mexico", "36": "New York", "37": "North Carolina", "38": "North Dakota",
    "39": "Ohio", "40": "Oklahoma", "41": "Oregon", "42": "Pennsylvania", "44": "Rhode Island",
    "45": "South Carolina", "46": "South Dakota", "47": "Tennessee", "48": "Texas", "49": "Utah", "50": "Vermont",
    "51": "Virginia", "53": "Washington", "54": "West Virginia", "55": "Wisconsin", "56": "Wyoming",
}  # fmt: skip
"""Names of the states by the first two digits of `geoId/…` (FIPS)."""

_CONDITIONS: Final = {
    "BingeDrinking": "who binge drink",
    "NoHealthInsurance": "without health insurance",
    "Obesity": "with obesity",
    "PhysicalInactivity": "who are physically inactive",
    "SleepLessThan7Hours": "who sleep less than 7 hours",
    "Smoking": "who smoke",
    "WithMentalHealthNotGood": "with poor mental health",
    "WithPhysicalHealthNotGood": "with poor physical health",
}
_GROUPS: Final = {
    "AsianAlone": "Asian",
    "BlackOrAfricanAmericanAlone": "Black",
    "HispanicOrLatino": "Hispanic",
    "WhiteAlone": "white",
}
_WHO: Final = {"Female": "women", "Male": "men", "Children": "children"}
_AGES: Final = (
    (re.compile(r"(\d+)To(\d+)Years"), "aged {} to {}"),
    (re.compile(r"(\d+)OrMoreYears"), "aged {} and above"),
    (re.compile(r"Upto(\d+)Years"), "aged up to {}"),
)
_SAME: Final = {
    "female": "women", "females": "women", "woman": "women", "male": "men", "males": "men", "uninsured": "no insurance",
    "without": "no", "lack": "no", "smokers": "smoking", "drinkers": "drinking", "inactive": "inactivity",
    "obese": "obesity", "african": "black", "latino": "hispanic", "hypertension": "high blood pressure",
}  # fmt: skip
_EMPTY: Final = frozenset({
    "a", "aged", "all", "alone", "among", "an", "and", "are", "at", "by", "due", "for", "from", "have", "having", "in",
    "incidence", "individuals", "is", "number", "occurrence", "of", "on", "or", "people", "percent", "percentage",
    "person", "persons", "population", "prevalence", "proportion", "rate", "share", "that", "the", "those", "to", "who",
    "with", "years",
})  # fmt: skip


def described(dcid: str) -> str:
    """A variable's identifier in words: `Percent_Person_18To64Years_Female_NoHealthInsurance` is the
    `percentage of women aged 18 to 64 without health insurance`.
    """
    kind, *parts = dcid.split("_")
    if kind not in {"Percent", "Count"} or parts[:1] != ["Person"]:
        return _spaced(dcid)
    who, group, age, conditions = "people", "", "", list[str]()
    for part in parts[1:]:
        if part in _WHO:
            who = _WHO[part]
        elif part in _GROUPS:
            group = _GROUPS[part] + " "
        elif found := _age(part):
            age = " " + found
        else:
            conditions.append(" " + _condition(part))
    return f"{'percentage' if kind == 'Percent' else 'number'} of {group}{who}{age}{''.join(conditions)}"


def stems(text: str) -> frozenset[str]:
    """The words of a text that say something, without their endings."""
    words: list[str] = re.findall(r"[a-z]+|\d+", _spaced(text).casefold())
    same = " ".join(_SAME.get(word, word) for word in words).split()
    return frozenset(_stem(word) for word in same if word not in _EMPTY)


def _age(part: str) -> str | None:
    for pattern, words in _AGES:
        if match := pattern.fullmatch(part):
            return words.format(*match.groups())
    return None


def _condition(part: str) -> str:
    if part in _CONDITIONS:
        return _CONDITIONS[part]
    words = _spaced(part)
    return f"who {words}" if words.startswith("received ") else words


def _spaced(name: str) -> str:
    """`CamelCase_name` as words in lower case."""
    return re.sub(r"(?<=[a-z])(?=[A-Z0-9])|(?<=\d)(?=[A-Z])|_+", " ", name).casefold()


def _stem(word: str) -> str:
    for ending in ("ically", "ally", "ing", "ity", "ly", "es", "ed", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
