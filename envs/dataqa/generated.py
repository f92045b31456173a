"""A made-up country with made-up series, in the shape of Data Commons' answers.

Nothing in it was measured anywhere. The variables are Data Commons' own; levels, trends and differences between places
are drawn at random, around values as they are usual for such variables.
"""

from __future__ import annotations

import functools
import random
from statistics import fmean
from typing import Any, Final

from thread_envs.dataqa.instance import Instance, Place

__all__ = ["VARIABLES", "generated_instance"]

_COUNTRY: Final = Place("generated/country", "Vessland", "Country")
_STATES: Final = {
    "Tarnmoor": ("Harwick", "Old Ferry", "Brindle County"),
    "Oslava": ("Penrith Falls", "Marlow", "Keld County"),
    "North Aldery": ("Quillhaven", "Stonebridge", "Aldery County"),
    "South Aldery": ("Ashby Dale", "Larkmouth", "Fenwright County"),
    "Corvanna": ("Duskfield", "Saint Orrin", "Corvan County"),
    "Meridane": ("Wexley", "Lower Meridane", "Halloway County"),
    "Ellistor": ("Greymere", "Port Ellis", "Thornbury County"),
    "Upland": ("Coldwater", "Juniper Hill", "Pinemark County"),
}
VARIABLES: Final = {
    "Percent_Person_18To64Years_Female_NoHealthInsurance": (14, range(2008, 2024)),
    "Percent_Person_18To64Years_Male_NoHealthInsurance": (17, range(2008, 2024)),
    "Percent_Person_18To64Years_WithHealthInsurance": (83, range(2008, 2024)),
    "Percent_Person_BingeDrinking": (17, range(2014, 2023)),
    "Percent_Person_Obesity": (31, range(2014, 2023)),
    "Percent_Person_PhysicalInactivity": (24, range(2014, 2023)),
    "Percent_Person_SleepLessThan7Hours": (35, range(2014, 2023, 2)),
    "Percent_Person_Smoking": (16, range(2014, 2023)),
    "Percent_Person_WithArthritis": (23, range(2014, 2023)),
    "Percent_Person_WithAsthma": (10, range(2014, 2023)),
    "Percent_Person_WithDiabetes": (10, range(2014, 2023)),
    "Percent_Person_WithHighBloodPressure": (30, range(2013, 2022, 2)),
    "Percent_Person_WithHighCholesterol": (31, range(2013, 2022, 2)),
    "Percent_Person_WithMentalHealthNotGood": (14, range(2014, 2023)),
}
"""Usual level, in percent, and years of each variable."""


@functools.cache
def generated_instance() -> Instance:
    """The instance, the same on every machine."""
    response = {
        "byVariable": {variable: _by_entity(variable) for variable in VARIABLES},
        "facets": {"generated": {"importName": "Generated, not measured", "unit": "Percent"}},
    }
    return Instance(response, _places())


def _places() -> list[Place]:
    places = [_COUNTRY]
    for state, parts in _STATES.items():
        places.append(Place(f"generated/{state}".replace(" ", ""), state, "State"))
        for part in parts:
            kind = "County" if part.endswith("County") else "City"
            places.append(Place(f"generated/{state}/{part}".replace(" ", ""), part, kind, state))
    return places


def _by_entity(variable: str) -> dict[str, Any]:
    level, years = VARIABLES[variable]
    series = {
        place.dcid: _series(f"{variable} {place.dcid}", level, years) for place in _places() if place is not _COUNTRY
    }
    states = [place.dcid for place in _places() if place.type == "State"]
    series[_COUNTRY.dcid] = {year: round(fmean(series[dcid][year] for dcid in states), 1) for year in years}
    return {"byEntity": {dcid: {"orderedFacets": [_facet(values)]} for dcid, values in series.items()}}


def _series(seed: str, level: float, years: range) -> dict[int, float]:
    rng = random.Random(seed)
    start = level * rng.uniform(0.75, 1.25)
    drift = level * rng.uniform(-0.03, 0.03)
    noise = level * 0.03
    return {year: round(start + drift * (year - years[0]) + rng.uniform(-noise, noise), 1) for year in years}


def _facet(values: dict[int, float]) -> dict[str, Any]:
    years = sorted(values)
    return {
        "facetId": "generated",
        "earliestDate": str(years[0]),
        "latestDate": str(years[-1]),
        "obsCount": len(years),
        "observations": [{"date": str(year), "value": values[year]} for year in years],
    }
