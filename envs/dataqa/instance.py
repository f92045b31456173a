"""A Data Commons instance in memory: places, variables and the observations that REST v2 would answer with.

It also finds places and variables by their names in plain words, which the public site does with `explore/detect`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from thread_cli.contracts.errors import UserError
from thread_cli.contracts.interpreter import HostError
from thread_envs.dataqa.vocabulary import STATES, described, stems

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Instance", "Place", "read_instance", "read_places"]

_RANK: Final = ("Country", "State", "County", "City")
_NATION: Final = ("the nation", "the national value", "the national average", "United States", "USA")
_DATE: Final = re.compile(r"[12]\d{3}(-\d\d){0,2}\Z")
_LISTED: Final = 8
_UNSAID: Final = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """A place. `within` is the name of the state that it is part of, where it is part of one."""

    dcid: str
    name: str
    type: str = ""
    within: str = ""

    @property
    def full_name(self) -> str:
        """The name as questions give it: `Oakland California`."""
        state = self.within or (STATES.get(self.dcid[6:8], "") if re.fullmatch(r"geoId/\d{5,}", self.dcid) else "")
        return f"{self.name} {state}".replace(",", "").strip()


class Instance:
    """Answers requests from observations held in memory.

    Args:
        response: an answer of REST v2's `observation`, with all dates: `byVariable`, `byEntity`, `orderedFacets`.
            Observations without a date or a number are left out.
        places: the places that can be found by name.

    Raises:
        AttributeError, TypeError, KeyError: `response` is something else.
    """

    def __init__(self, response: Mapping[str, Any], places: Sequence[Place]) -> None:
        given: Mapping[str, Any] = response["byVariable"]
        self._by_variable: Mapping[str, Any] = {variable: _about(found) for variable, found in given.items()}
        self._facets: Mapping[str, Any] = response.get("facets") or {}
        self.places = tuple(sorted(places, key=lambda place: place.dcid))
        self.variables = {dcid: described(dcid) for dcid in sorted(self._by_variable)}
        self._names = dict(_names(self.places))
        self._words = {dcid: stems(f"{text} {dcid}") for dcid, text in self.variables.items()}
        self._said = {dcid: stems(text) for dcid, text in self.variables.items()}
        self._known_in = Counter(stem for words in self._words.values() for stem in words)

    def series(self, variable: str, place: str) -> dict[int, float]:
        """Values by year, of the facet that Data Commons prefers; observations within a year are left out."""
        facets: Any = self._by_variable.get(variable, {}).get("byEntity", {}).get(place, {}).get("orderedFacets")
        observations: list[Any] = facets[0]["observations"] if facets else []
        return {int(seen["date"]): float(seen["value"]) for seen in observations if len(seen["date"]) == 4}

    def measure(self, variable: str, place: str) -> tuple[str, str]:
        """Unit and scaling factor of the values that `series` has, both empty where the facet tells none.

        Values told as `Percent`, or scaled by 100, are no shares of one: series that differ in either do not compare.
        """
        facets: Any = self._by_variable.get(variable, {}).get("byEntity", {}).get(place, {}).get("orderedFacets")
        facet: Mapping[str, Any] = (self._facets.get(str(facets[0].get("facetId"))) or {}) if facets else {}
        factor = str(facet.get("scalingFactor") or "").strip()
        return str(facet.get("unit") or "").strip(), "" if _is_one(factor) else factor

    def observe(self, variables: Sequence[str], entities: Sequence[str]) -> dict[str, Any]:
        """The answer of REST v2's `observation`; unknown series are there without values, as in the original.

        Raises:
            HostError: the values cannot be had.
        """
        found: dict[str, Any] = {}
        for variable in variables:
            known = self._by_variable.get(variable, {}).get("byEntity", {})
            found[variable] = {"byEntity": {entity: known.get(entity, {}) for entity in entities}}
        return {"byVariable": found, "facets": dict(self._facets)}

    def find_place(self, name: str) -> str:
        """The identifier of the place that is meant.

        Raises:
            HostError: there is none of that name.
        """
        place = self._place_in(name)
        if place is None:
            raise HostError(f"no place is called {name!r}")
        return place[1]

    def find_variable(self, description: str) -> str:
        """The identifier of the variable that fits a description best.

        Raises:
            HostError: none fits at all.
        """
        ranked = self._ranked(description)
        if not ranked:
            raise HostError(f"no variable is described like {description!r}")
        return ranked[0]

    def detect(self, query: str) -> dict[str, Any]:
        """Variables, the best first, and places that a query such as `people with diabetes in Oakland` is about."""
        place = self._place_in(query)
        rest = query.casefold().replace(place[0], " ") if place else query
        entities = [place[1]] if place else []
        return {"variables": self._ranked(rest), "entities": entities, "debug": {"places_detected": entities}}

    def _place_in(self, text: str) -> tuple[str, str] | None:
        """The longest name of a place in a text, and whose it is."""
        text = text.replace(",", "").casefold()
        found = [name for name in self._names if name in text and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
        name = max(found, key=len, default=None)
        return None if name is None else (name, self._names[name])

    def _ranked(self, text: str) -> list[str]:
        """Variables that share words with a text: rare words count more, words that the text lacks count against."""
        asked = stems(text)
        scores = {
            dcid: sum(map(self._weight, asked & words)) - _UNSAID * sum(map(self._weight, self._said[dcid] - asked))
            for dcid, words in self._words.items()
            if asked & words
        }
        scores |= dict.fromkeys(
            (dcid for dcid, said in self.variables.items() if text.strip() in {dcid, said}), math.inf
        )
        return sorted(scores, key=lambda dcid: (-scores[dcid], dcid))[:_LISTED]

    def _weight(self, stem: str) -> float:
        return math.log(1 + len(self._words) / self._known_in[stem])


def _about(found: Mapping[str, Any]) -> dict[str, Any]:
    """The known values of a variable: for each place the facets, with observations that have a date and a number."""
    entities: Mapping[str, Any] = found.get("byEntity") or {}
    return {"byEntity": {entity: _facets(series) if series else {} for entity, series in entities.items()}}


def _facets(series: Mapping[str, Any]) -> dict[str, Any]:
    facets: list[dict[str, Any]] = series.get("orderedFacets") or []
    cleaned = [{**facet, "observations": _points(facet.get("observations") or [])} for facet in facets]
    return {"orderedFacets": cleaned} if cleaned else {}


def _points(observations: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = []
    for seen in observations:
        date = str(seen.get("date"))
        said: Any = seen.get("value")
        try:
            value = said if isinstance(said, (int, float)) else float(said or "")
        except ValueError:
            continue
        if math.isfinite(value) and _DATE.match(date):
            points.append({**seen, "date": date, "value": value})
    return points


def _is_one(factor: str) -> bool:
    """Whether a scaling factor changes nothing."""
    try:
        return float(factor) == 1
    except ValueError:
        return False


def _names(places: Iterable[Place]) -> Iterable[tuple[str, str]]:
    """Names in lower case and whose they are; of places with the same name the largest comes last, and wins."""
    ranked = sorted(places, key=lambda place: -_RANK.index(place.type) if place.type in _RANK else -len(_RANK))
    for place in ranked:
        yield place.name.replace(",", "").casefold(), place.dcid
    for place in ranked:
        yield place.full_name.casefold(), place.dcid
        yield place.dcid.casefold(), place.dcid
        if place.type == "Country":
            yield from ((name.casefold(), place.dcid) for name in _NATION)


def read_instance(observations: Path, places: Path) -> Instance:
    """An instance from two JSON files: a REST v2 observation response, and a list of `dcid`, `name`, `type`.

    Raises:
        UserError: they cannot be read, or are something else.
    """
    response = _json(observations)
    if not (isinstance(response, dict) and isinstance(cast("dict[str, Any]", response).get("byVariable"), dict)):
        raise UserError(f"{observations} is no observation response of Data Commons' REST v2: it has no `byVariable`")
    try:
        return Instance(cast("dict[str, Any]", response), read_places(places))
    except (AttributeError, TypeError, KeyError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{observations} is no observation response of Data Commons' REST v2 ({reason})") from None


def read_places(path: Path) -> list[Place]:
    """Places from a JSON list of `dcid` and, where known, `name`, `type` and `within`; raises as `read_instance`.

    A place without a name goes by its identifier, as in Data Commons.
    """
    listed = _json(path)
    try:
        places = [_place(item) for item in listed]
    except (TypeError, KeyError, AttributeError):
        raise UserError(f"{path} is no list of places with `dcid` and `name`") from None
    return places


def _place(item: Mapping[str, Any]) -> Place:
    dcid, name, kind, within = item["dcid"], *(item.get(key) or "" for key in ("name", "type", "within"))
    if not all(isinstance(text, str) for text in (dcid, name, kind, within)):
        raise TypeError("not texts")
    return Place(dcid, name.strip() or dcid, kind, within)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from None
