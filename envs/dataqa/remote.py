"""A Data Commons instance behind REST v2, asked through `datacommons-client`.

The client waits without end and tells failures in many ways; here every request has a time-out, is tried again where
that may help, and fails in one line. What was answered once is kept on disk, by what was asked and where, not by whom.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import time
import types
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from thread_cli.contracts.errors import UserError
from thread_cli.contracts.interpreter import HostError
from thread_cli.distribution import remedy
from thread_envs.dataqa.instance import Instance, Place
from thread_envs.dataqa.keeping import kept

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

__all__ = ["PUBLIC", "Connection", "RemoteInstance", "Unreachable"]

PUBLIC: Final = "datacommons.org"
_PAUSES: Final = (0.3, 1.0)
"""Seconds between one try and the next."""
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
_timeout: ContextVar[float] = ContextVar("_timeout", default=30.0)


class Unreachable(Exception):
    """A request could not be answered. The message is one line; `passing` says whether another try may help."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


class Connection:
    """Requests to one instance, each answered from `cache` where it was answered before.

    Args:
        url: where REST v2 is served, or `datacommons.org`.
        key: the key for it; kept nowhere but in the requests.
        timeout: seconds for which a request may be silent.
        cache: a folder.

    The first request that is not in the cache connects; the client then first asks another server than the public one
    for the node `country/GTM`, to see whether it speaks REST v2.
    """

    def __init__(self, url: str, *, key: str | None, timeout: float, cache: Path) -> None:
        self._url = url.rstrip("/")
        self._key = key or None
        self._seconds = timeout
        self._cache = cache
        self._client: Any = None

    def observations(self, variables: Sequence[str], entities: Sequence[str]) -> dict[str, Any]:
        """All observations, in the shape of REST v2's answers.

        Raises:
            Unreachable: there is no answer.
        """
        variables, entities = list(variables), list(entities)

        def ask(client: Any) -> dict[str, Any]:
            asked = _part("endpoints.payloads").ObservationRequestPayload(
                date="all",
                variable_dcids=variables,
                select=["date", "variable", "entity", "value", "facet"],
                entity_dcids=entities,
            )
            response = client.observation.post(payload=asked.to_dict())
            answer = _part("endpoints.response").ObservationResponse.model_validate(response).to_dict()
            # The client's own model of a facet knows the unit, and drops the scaling factor.
            return {**answer, "facets": response.get("facets") or {}}

        return self._cached(["observation with facets", variables, entities], ask)

    def dcids(self, name: str) -> list[str]:
        """Identifiers of the places of that name, the likeliest first; raises as `observations`."""

        def ask(client: Any) -> dict[str, Any]:
            return client.resolve.fetch_dcids_by_name([name]).to_dict()

        entities = self._cached(["resolve", name], ask)["entities"]
        return [candidate["dcid"] for entity in entities for candidate in entity.get("candidates", [])]

    def _cached(self, request: list[Any], ask: Callable[[Any], Any]) -> dict[str, Any]:
        name = hashlib.sha256(json.dumps([self._url, *request]).encode()).hexdigest()
        return kept(self._cache / f"{name}.json", lambda: self._ask(ask))

    def _ask(self, ask: Callable[[Any], Any]) -> dict[str, Any]:
        for pause in (*_PAUSES, None):
            try:
                with self._one_kind_of_failure():
                    self._client = self._client or self._connect()
                    return ask(self._client)
            except Unreachable as error:
                if pause is None or not error.passing:
                    raise
                time.sleep(pause)
        raise AssertionError

    def _connect(self) -> Any:
        client = _client_package()
        if self._url == PUBLIC:
            return client.DataCommonsClient(api_key=self._key)
        return client.DataCommonsClient(api_key=self._key, url=self._url)

    @contextmanager
    def _one_kind_of_failure(self) -> Generator[None]:
        """Time-outs within, and one kind of failure out of the client's many."""
        token = _timeout.set(self._seconds)
        try:
            yield
        except (UserError, Unreachable):
            raise
        except Exception as error:  # noqa: BLE001 - the client lets many kinds through
            raise self._failure(error) from None
        finally:
            _timeout.reset(token)

    def _failure(self, error: BaseException) -> Unreachable:
        chain = [error, *filter(None, (error.__cause__, error.__context__))]
        response = next((found for one in chain if (found := getattr(one, "response", None)) is not None), None)
        if response is not None and response.status_code != 200:
            hint = "; is the key right?" if response.status_code in {401, 403} else ""
            message = f"{self._url} answered with status {response.status_code}{hint}"
            return Unreachable(message, passing=response.status_code in _PASSING)
        names = {kind.__name__ for one in chain for kind in type(one).__mro__}
        if "Timeout" in names:
            return Unreachable(f"{self._url} did not answer within {self._seconds:g} s", passing=True)
        if names & {"ConnectionError", "DCConnectionError"}:
            return Unreachable(f"{self._url} cannot be reached", passing=True)
        if names & {"JSONDecodeError", "ValidationError", "InvalidDCInstanceError", "APIError"}:
            return Unreachable(f"{self._url} does not speak Data Commons' REST v2", passing=False)
        return Unreachable(f"{self._url}: {type(error).__name__}: {' '.join(str(error).split())}", passing=False)


class RemoteInstance(Instance):
    """An instance whose places and series beyond the given ones are asked for when they are needed."""

    def __init__(self, connection: Connection, places: Sequence[Place], variables: Sequence[str]) -> None:
        try:
            response = connection.observations(sorted(variables), sorted(place.dcid for place in places))
        except Unreachable as error:
            raise UserError(f"Data Commons: {error}") from None
        super().__init__(response, places)
        self._connection = connection

    def observe(self, variables: Sequence[str], entities: Sequence[str]) -> dict[str, Any]:
        known = {place.dcid for place in self.places}
        if known.issuperset(entities) and self.variables.keys() >= set(variables):
            return super().observe(variables, entities)
        found = _asked(partial(self._connection.observations, variables, entities))
        return Instance(found, ()).observe(variables, entities)

    def find_place(self, name: str) -> str:
        try:
            return super().find_place(name)
        except HostError:
            found = _asked(partial(self._connection.dcids, name))
            if not found:
                raise
            return found[0]


def _asked(request: Callable[[], Any]) -> Any:
    try:
        return request()
    except Unreachable as error:
        raise HostError(f"Data Commons: {error}") from None


def _client_package() -> Any:
    try:
        package = importlib.import_module("datacommons_client")
        handling: Any = importlib.import_module("datacommons_client.utils.request_handling")
    except ImportError as error:
        raise UserError(f"Data Commons needs datacommons-client ({error}): {remedy('dataqa')}") from error
    if not isinstance(handling.requests, types.SimpleNamespace):
        # The client calls these two functions without a time-out, and takes none.
        requests = handling.requests
        handling.requests = types.SimpleNamespace(
            get=_timed(requests.get), post=_timed(requests.post), exceptions=requests.exceptions
        )
    return package


def _part(name: str) -> Any:
    return importlib.import_module(f"datacommons_client.{name}")


def _timed(send: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*arguments: Any, **options: Any) -> Any:
        return send(*arguments, timeout=_timeout.get(), **options)

    return timed
