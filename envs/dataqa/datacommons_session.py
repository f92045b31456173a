# ruff: noqa: F821
"""What a session about Data Commons holds: its text is run at the beginning of each session, not imported.

`datacommons_place`, `datacommons_variable`, `datacommons_detect` and `datacommons_observe` are functions of the host.
The names in capital letters, `requests` and `collect_data_commons1` are those that published THREAD prompts use.
"""

import json
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pandas as pd

URL_EXPLORE = "https://datacommons.org/api/explore/detect"
URL_OBS = URL_obs = "https://api.datacommons.org/v2/observation"
HEADERS = {"Content-Type": "application/json"}
JSON = {"contextHistory": [], "dc": ""}
API_KEY = ""
DATA_DIR = "data_table.txt"


def find_place(name: str) -> str:
    """The identifier of a place."""
    return datacommons_place(str(name))


def find_variable(description: str) -> str:
    """The identifier of the variable that fits a description best."""
    return datacommons_variable(str(description))


def observations(place: str, variable: str, start: int | None = None, end: int | None = None) -> pd.Series:
    """Values by year, from `start` to `end`, as a Series. Its name tells the unit and the scaling factor, if any."""
    response = datacommons_observe([variable], [place])
    facets = response["byVariable"][variable]["byEntity"][place].get("orderedFacets") or [{}]
    told = response["facets"].get(str(facets[0].get("facetId"))) or {}
    measure = [str(told["unit"])] if told.get("unit") else []
    measure += [f"scaling factor {told['scalingFactor']}"] if told.get("scalingFactor") else []
    name = f"{place} ({', '.join(measure)})" if measure else place
    seen = facets[0].get("observations") or []
    values = {int(one["date"]): one["value"] for one in seen if len(one["date"]) == 4}
    series = pd.Series(values, dtype=float, name=name).rename_axis("year").sort_index()
    return series.loc[start:end]


def collect_data_commons1(entity: str, variable: str) -> list[dict[str, Any]] | None:
    """The observations of a variable in a place, as a list of `date` and `value`; None where there are none."""
    response = datacommons_observe([variable], [entity])
    facets = response["byVariable"][variable]["byEntity"][entity].get("orderedFacets")
    return facets[0]["observations"] if facets else None


class _Response:
    def __init__(self, content: Any) -> None:
        self.status_code = 200
        self.ok = True
        self.text = json.dumps(content)

    def json(self) -> Any:
        return json.loads(self.text)

    def raise_for_status(self) -> None:
        """Raise nothing: a request that fails raises at once."""


class requests:  # noqa: N801
    """Stands in for the package: there is no network, and the host answers the two requests that prompts make."""

    @staticmethod
    def get(url: str, params: Any = None, **_: Any) -> _Response:
        parts = urlsplit(url)
        asked = {key: values[-1] for key, values in parse_qs(parts.query).items()} | dict(params or {})
        if parts.path == urlsplit(URL_EXPLORE).path:
            return _Response(datacommons_detect(str(asked.get("q", ""))))
        if parts.path == urlsplit(URL_OBS).path:
            named = [asked.get(f"{kind}.dcids", []) for kind in ("variable", "entity")]
            return _Response(datacommons_observe(*([one] if isinstance(one, str) else list(one) for one in named)))
        raise RuntimeError(f"there is no network here, only {URL_EXPLORE} and {URL_OBS}")

    post = get


sys.modules["requests"] = requests
