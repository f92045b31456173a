"""What a thread computes is what Python computes, in sessions that hold what attacks them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pieces import PIECES
from programs import CASES, PAIRS, PROGRAMS

from thread_cli.engine.namespace import Namespace
from thread_cli.interpreters.conformance import ATTACKS, CONTRACT, attacked

if TYPE_CHECKING:
    pass


async def computed(interpreter: Any, pieces: list[str], thread: str) -> list[tuple[str | None, str | None]]:
    """What one thread prints and reads of errors, piece by piece."""
    names = Namespace()
    told: list[tuple[str | None, str | None]] = []
    for piece in pieces:
        outcome = await interpreter.run(piece, names.values, thread=thread)
        names.bind(outcome.names, outcome.gone)
        told.append((outcome.printed, outcome.error))
    return told


def test_there_are_enough_cases() -> None:
    assert len(PIECES) + len(PROGRAMS) >= 400
    assert len(PAIRS) >= 66
    assert len({str(case) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("place", range(len(CASES)), ids=lambda place: CASES[place][0].replace("\n", " ")[:60])
async def test_a_thread_computes_what_python_computes(variables, python, place) -> None:
    assert await computed(variables, CASES[place], "0") == python[place]


@pytest.mark.parametrize("name", CONTRACT)
async def test_the_interpreter_of_variables_keeps_the_contract(variables, name) -> None:
    await CONTRACT[name](variables)


@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_ends_its_own_session_at_most(variables, attack) -> None:
    await attacked(variables, attack, within=10)
