"""Questions about places: the paper's kinds, asked only where the series leave no doubt about the answer."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.interpreter import HostError
from thread_envs.dataqa.questions import Question, Template, ask
from thread_envs.dataqa.series import clearly_differ, correlated, fitted, slope, summary, trend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from thread_envs.dataqa.instance import Instance, Place

__all__ = ["TEMPLATES", "questions"]

_LEAST_VALUES: Final = 3
_LATER: Final = range(2, 13)
"""How many years after the last observation forecasts are asked for."""
_PLAIN: Final = re.compile(r"[^\W\d][\w .'\N{RIGHT SINGLE QUOTATION MARK}/()-]*")
_JOINING: Final = {"and", "or", "in", "from", "to", "table"}
"""Places with such words in their names are not asked about: a question would read in more than one way."""
_LEVELS: Final = ("higher", "lower")


def _levels(statistic: str) -> Iterator[Template]:
    """The kinds of question about the minimum, maximum or average of a stretch of years."""
    asked = f"the {statistic} from {{start}} to {{end}} of the {{variable}}"
    for level in _LEVELS:
        text = f"Was {asked} {level} in {{a}} or {{b}}?"
        yield Template(f"{level} {statistic}", text, statistic, "between", (level,))
    text = f"Compared to {{b}} was {asked} higher or lower in {{a}}?"
    yield Template(f"{statistic} against", text, statistic, "against", _LEVELS)


TEMPLATES: Final = (
    Template("trend", "In {a} was the {variable} increasing or decreasing from {start} to {end}?",
             "slope", "sign", ("increasing", "decreasing")),
    Template("outlook", "Going by the data from {start} to {end} in {a} is the {variable} expected to increase or "
             "decrease after that?", "slope", "sign", ("increase", "decrease")),
    Template("faster", "Was the {variable} increasing faster in {a} or {b} from {start} to {end}?",
             "slope", "between", ("higher",)),
    Template("correlation", "From {start} to {end} was the correlation of the {variable} in {a} and {b} positive or "
             "negative?", "correlation", "sign", ("positive", "negative")),
    Template("nation", "In {year} was the {variable} in {a} higher or lower than the national value?",
             "value", "against", _LEVELS),
    Template("value against", "Compared to {b} was the {variable} higher or lower in {a} in {year}?",
             "value", "against", _LEVELS),
    Template("higher value", "In {year} was the {variable} higher in {a} or {b}?", "value", "between", ("higher",)),
    Template("lower value", "In {year} was the {variable} lower in {a} or {b}?", "value", "between", ("lower",)),
    Template("higher forecast", "Judging from the years {start} to {end} will the {variable} be higher in {a} or {b} "
             "in {later}?", "forecast", "between", ("higher",)),
    Template("lower forecast", "Judging from the years {start} to {end} will the {variable} be lower in {a} or {b} "
             "in {later}?", "forecast", "between", ("lower",)),
    Template("forecast against", "Using data from {start} to {end} is the {variable} in {a} expected to be above or "
             "below that in {b} in {later}?", "forecast", "against", ("above", "below")),
    *(template for statistic in ("minimum", "maximum", "average") for template in _levels(statistic)),
)  # fmt: skip


def questions(instance: Instance, count: int) -> list[Question]:
    """Up to `count` different questions over an instance's series, the templates in turn; always the same ones."""
    return ask(TEMPLATES, _Drawing(instance).draw, count)


class _Drawing:
    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._rng = random.Random("dataqa/datacommons")
        self._nation = next((place for place in instance.places if place.type == "Country"), None)
        self._series = {
            variable: {
                place: series
                for place in instance.places
                if place.type != "Country"
                and _plain(place.full_name)
                and _is_found(instance.find_place, place.full_name, place.dcid)
                and len(series := instance.series(variable, place.dcid)) >= _LEAST_VALUES
            }
            for variable, description in instance.variables.items()
            if description and _is_found(instance.find_variable, description, variable)
        }
        self._variables = [variable for variable, series in self._series.items() if len(series) > 1]

    def draw(self, template: Template) -> Question | None:
        """A question at random; None where its answer would be open to doubt."""
        if not self._variables:
            return None
        variable = self._rng.choice(self._variables)
        a, b = self._rng.sample(sorted(self._series[variable], key=lambda place: place.dcid), 2)
        if template.name == "nation":
            if self._nation is None or not variable.startswith("Percent"):
                return None
            b = self._nation
        alone = template.form == "sign" and template.statistic == "slope"
        if not alone and self._instance.measure(variable, a.dcid) != self._instance.measure(variable, b.dcid):
            return None
        one = self._series[variable][a]
        other = self._series[variable].get(b) or self._instance.series(variable, b.dcid)
        years = sorted(one.keys() & other.keys())
        span = self._span(sorted(one) if alone else years, template.statistic == "value")
        if span is None:
            return None
        start, end = span
        one, other = _within(one, start, end), _within(other, start, end)
        if not alone and one.keys() != other.keys():
            return None
        later = end + self._rng.choice(_LATER)
        answer = _answer(template, (a, b), one, other, later)
        if answer is None:
            return None
        values = {"variable": self._instance.variables[variable], "a": a.full_name, "b": b.full_name}
        times = {"start": start, "end": end, "year": start, "later": later}
        about = {"dcid": variable, "places": (a.dcid,) if alone else (a.dcid, b.dcid), **times}
        return Question(template, {**values, **times}, answer, _choices(template, a, b), about=about)

    def _span(self, years: Sequence[int], single: bool) -> tuple[int, int] | None:
        if single:
            return (year := self._rng.choice(years), year) if years else None
        if len(years) < _LEAST_VALUES:
            return None
        start, end = sorted(self._rng.sample(range(len(years)), 2))
        return (years[start], years[end]) if end - start + 1 >= _LEAST_VALUES else None


def _plain(name: str) -> bool:
    return bool(_PLAIN.fullmatch(name)) and not _JOINING & set(name.casefold().split())


def _is_found(find: Callable[[str], str], name: str, dcid: str) -> bool:
    """Whether a name leads to what it is the name of, and to nothing else."""
    try:
        return find(name) == dcid
    except HostError:
        return False


def _within(series: Mapping[int, float], start: int, end: int) -> dict[int, float]:
    return {year: series[year] for year in sorted(series) if start <= year <= end}


def _choices(template: Template, a: Place, b: Place) -> tuple[str, ...]:
    return (a.full_name, b.full_name) if template.form == "between" else template.words


def _answer(
    template: Template, places: tuple[Place, Place], one: Mapping[int, float], other: Mapping[int, float], later: int
) -> str | None:
    if template.form == "sign":
        sign = trend(one) if template.statistic == "slope" else correlated(one, other)
        return None if sign is None else template.words[sign < 0]
    pair = _compared(template.statistic, one, other, later)
    if pair is None:
        return None
    greater = pair[0] > pair[1]
    if template.form == "against":
        return template.words[not greater]
    return places[greater != (template.words == ("higher",))].full_name


def _compared(
    statistic: str, one: Mapping[int, float], other: Mapping[int, float], later: int
) -> tuple[float, float] | None:
    """The statistic of both series; None where they are too close, or mean nothing."""
    if statistic == "slope":
        pair = slope(one), slope(other)
        span = max(one) - min(one)
        clear = clearly_differ(pair[0] * span, pair[1] * span, max(*one.values(), *other.values()))
        return pair if clear and max(pair) > 0 and trend(one if pair[0] > pair[1] else other) else None
    if statistic == "forecast":
        pair = fitted(one, later), fitted(other, later)
        meant = min(pair) >= min(0, *one.values(), *other.values())
        return pair if meant and clearly_differ(*pair) else None
    if statistic == "value":
        pair = next(iter(one.values())), next(iter(other.values()))
    else:
        pair = summary(statistic, one), summary(statistic, other)
    return pair if clearly_differ(*pair) else None
