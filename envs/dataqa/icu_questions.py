"""Questions about patients of an intensive care unit: the paper's kinds, asked only where there is no doubt.

The average of a group is the average of its patients' averages, over patients with more than two values, as in the
published set. A question is dropped where pooling all values of the group, or leaving out patients who also belong to
the opposite group, would change its answer.
"""

from __future__ import annotations

import random
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Final

from thread_envs.dataqa.icu_stays import PHENOTYPES, VARIABLES
from thread_envs.dataqa.questions import Question, Template, ask
from thread_envs.dataqa.series import clearly_differ, fitted, slope, summary, trend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thread_envs.dataqa.icu_stays import Stays

__all__ = ["DIED", "SURVIVED", "TEMPLATES", "questions"]

DIED: Final = "patients who died in hospital"
SURVIVED: Final = "patients who left hospital alive"
_LEAST_VALUES: Final = 6
_LEAST_PATIENTS: Final = 5
_LAST_HOUR: Final = 48
_LEVELS: Final = ("higher", "lower")
_SIDES: Final = ("above", "below")
_EXTREMES: Final = {"highest": "maximum", "lowest": "minimum", "average": "average"}


TEMPLATES: Final = (
    *(Template(f"{word} of two", f"Was the {word} {{variable}} higher or lower for patient {{a}} than for patient "
               "{b}?", statistic, "against", _LEVELS) for word, statistic in _EXTREMES.items()),
    *(Template(f"{way} faster", f"Was the {{variable}} {way} faster for patient {{a}} or patient {{b}} from hour 0 to "
               "{end} of the stay?", "slope", "between", (word,))
      for way, word in (("increasing", "higher"), ("decreasing", "lower"))),
    *(Template(f"average against {name}", "Was the average {variable} of patient {a} from hour {start} to {end} "
               f"higher or lower than the average among {group}?", "average", "against", _LEVELS)
      for name, group in (("the dead", DIED), ("survivors", SURVIVED), ("phenotype", "patients with {phenotype}"))),
    *(Template(f"hour of the {word}", "Between hour {start} and {end} at what hour was the {variable} of patient {a} "
               f"{word}?", f"hour of the {word} value", "number") for word in ("highest", "lowest")),
    *(Template(f"hour of the {word}", f"At what hour did the biggest {word} of the {{variable}} of patient {{a}} "
               "begin?", f"hour of the biggest {word}", "number") for word in ("rise", "fall")),
    *(Template(f"{word} of one", f"What was the {word} {{variable}} of patient {{a}} from hour {{start}} to {{end}} "
               "to one decimal?", statistic, "number") for word, statistic in _EXTREMES.items()),
    *(Template(f"forecast against {word.split()[0]}", "Judging from hours {start} to {end} is the {variable} of "
               "patient {a} at hour {later} expected to be above or below the " + word + " among patients with "
               "{phenotype}?", "forecast", "against", _SIDES)
      for word in ("average", "highest average", "lowest average")),
)  # fmt: skip


def questions(stays: Stays, count: int) -> list[Question]:
    """Up to `count` different questions over the stays, the templates in turn; always the same ones."""
    return ask(TEMPLATES, _Drawing(stays).draw, count)


class _Drawing:
    def __init__(self, stays: Stays) -> None:
        self._stays = stays
        self._rng = random.Random("dataqa/icu")

    def draw(self, template: Template) -> Question | None:
        """A question at random; None where its answer would be open to doubt."""
        column = self._rng.choice(list(VARIABLES))
        a, b = (self._rng.choice(self._stays.patients) for _ in "ab")
        phenotype = self._rng.choice(list(PHENOTYPES))
        start, end, later = self._hours(template)
        one = _within(self._stays.series(a, column), start, end)
        if a == b or len(one) < _LEAST_VALUES:
            return None
        about = {
            "column": column, "patients": (a, b) if "{b}" in template.text else (a,), "group": "", "start": start,
            "end": end, "later": later,
        }  # fmt: skip
        choices = template.words
        if "{b}" in template.text:
            other = _within(self._stays.series(b, column), start, end)
            answer = self._of_two(template, (a, one), (b, other)) if len(other) >= _LEAST_VALUES else None
            choices = (a, b) if template.form == "between" else choices
        elif "among" in template.text:
            about["group"] = group = _group(template, phenotype)
            answer = self._of_group(template, one, group, column, later)
        else:
            answer = _number(template.statistic, one)
        if answer is None:
            return None
        values = {"variable": VARIABLES[column], "a": a, "b": b, "phenotype": PHENOTYPES[phenotype]}
        decimals = None if template.form != "number" else int(template.statistic in _EXTREMES.values())
        return Question(template, {**values, **about}, answer, choices, decimals, about)

    def _hours(self, template: Template) -> tuple[int, int, int]:
        start = self._rng.randint(1, 20) if "{start}" in template.text else 0
        end = self._rng.randint(start + 8, 40) if "{end}" in template.text else _LAST_HOUR
        return start, end, min(end + self._rng.randint(1, 8), _LAST_HOUR)

    def _of_two(
        self, template: Template, a: tuple[str, Mapping[float, float]], b: tuple[str, Mapping[float, float]]
    ) -> str | None:
        if template.form == "against":
            pair = summary(template.statistic, a[1]), summary(template.statistic, b[1])
            return template.words[pair[0] < pair[1]] if clearly_differ(*pair) else None
        sign = 1 if template.words == ("higher",) else -1
        rises = sign * slope(a[1]), sign * slope(b[1])
        size = max(*a[1].values(), *b[1].values()) / _LAST_HOUR
        faster = a if rises[0] > rises[1] else b
        if max(rises) <= 0 or not clearly_differ(*rises, size) or trend(faster[1]) is None:
            return None
        return faster[0]

    def _of_group(
        self, template: Template, one: Mapping[float, float], group: str, column: str, later: int
    ) -> str | None:
        value = fmean(one.values()) if template.statistic == "average" else fitted(one, later)
        if not 0 < value < 2 * max(one.values()):
            return None
        limits = self._limits(template, group, column)
        if not limits or not all(clearly_differ(value, limit) for limit in limits):
            return None
        sides = {value > limit for limit in limits}
        return template.words[not sides.pop()] if len(sides) == 1 else None

    def _limits(self, template: Template, group: str, column: str) -> list[float]:
        """The group's number, first as it is defined, then as it might also be understood."""
        members, clear = self._members(group)
        averages, clearly = (list(self._stays.averages(patients, column).values()) for patients in (members, clear))
        if min(len(averages), len(clearly)) < _LEAST_PATIENTS:
            return []
        if "est average" in template.text:
            extreme = max if "highest" in template.text else min
            return [extreme(averages), extreme(clearly)]
        return [fmean(averages), fmean(clearly), self._stays.pooled(members, column)]

    def _members(self, group: str) -> tuple[list[str], list[str]]:
        """Patients of a group, and those of them who do not also belong to its opposite."""
        if group in {DIED, SURVIVED}:
            members, others = self._stays.died(group == DIED), self._stays.died(group != DIED)
            return members, [patient for patient in members if patient not in others]
        members = self._stays.diagnosed(group)
        return members, members


def _within(series: Mapping[float, float], start: float, end: float) -> dict[float, float]:
    return {hour: value for hour, value in series.items() if start <= hour <= end}


def _group(template: Template, phenotype: str) -> str:
    return next((group for group in (DIED, SURVIVED) if group in template.text), phenotype)


def _number(statistic: str, series: Mapping[float, float]) -> str | None:
    """The number that is asked for; None where another hour is as good, or rounding is close to a tie."""
    hours, values = list(series), list(series.values())
    if statistic in {"minimum", "maximum", "average"}:
        value = summary(statistic, series)
        rounded = round(value, 1)
        certain = int(value) == int(rounded) and abs(abs(value - rounded) - 0.05) > 0.005
        return f"{rounded:.1f}" if certain else None
    sign = -1 if statistic.endswith(("lowest value", "fall")) else 1
    if statistic.endswith(("rise", "fall")):
        values = [after - before for before, after in pairwise(values)]
    ranked = sorted(range(len(values)), key=lambda index: -sign * values[index])
    first, second = ranked[:2]
    if not clearly_differ(values[first], values[second]) or (len(values) < len(hours) and sign * values[first] <= 0):
        return None
    return f"{hours[first]:g}"
