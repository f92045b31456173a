"""Questions that are made up here, always the same ones: for trying out, for tests, and for training."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Final

from thread_cli.contracts.environment import Task

__all__ = ["COUNT", "generated"]

COUNT: Final = 60
_PEOPLE: Final = ("Amara", "Bo", "Cem", "Dunja", "Eino", "Farida", "Goran", "Hana", "Ivo", "Jorun")
_GOODS: Final = ("jars of honey", "candles", "baskets", "bars of soap", "loaves", "clay bowls")


def generated() -> list[Task]:
    """The questions, the kinds in turn. `steps` has the expressions to compute, each with its value."""
    drawn = random.Random(20)
    tasks: list[Task] = []
    texts: set[str] = set()
    while len(tasks) < COUNT:
        kind, ask = list(_KINDS.items())[len(tasks) % len(_KINDS)]
        text, answer, steps = ask(drawn)
        if text not in texts:
            texts.add(text)
            data = {"answer": answer, "steps": steps}
            tasks.append(Task(f"generated-{len(tasks)}", text, "generated", kind, data))
    return tasks


def _market(drawn: random.Random) -> tuple[str, str, list[list[str]]]:
    name, goods = drawn.choice(_PEOPLE), drawn.choice(_GOODS)
    made, kept, price = drawn.randint(20, 60), drawn.randint(3, 15), drawn.randint(2, 9)
    sold = made - kept
    text = (
        f"{name} makes {made} {goods} and keeps {kept} of them. The others are sold for {price} dollars each. "
        f"How many dollars does {name} get?"
    )
    return text, str(sold * price), [[f"{made} - {kept}", str(sold)], [f"{sold} * {price}", str(sold * price)]]


def _journey(drawn: random.Random) -> tuple[str, str, list[list[str]]]:
    name = drawn.choice(_PEOPLE)
    hours, speed, more, slower = drawn.randint(2, 5), drawn.randint(40, 70), drawn.randint(2, 4), drawn.randint(12, 30)
    first, second = hours * speed, more * slower
    text = (
        f"{name} drives for {hours} hours at {speed} kilometres an hour, and then cycles for {more} hours at {slower} "
        f"kilometres an hour. How many kilometres is that in all?"
    )
    steps = [[f"{hours} * {speed}", str(first)], [f"{more} * {slower}", str(second)]]
    return text, str(first + second), [*steps, [f"{first} + {second}", str(first + second)]]


def _share(drawn: random.Random) -> tuple[str, str, list[list[str]]]:
    below, other = drawn.sample(range(3, 12), 2)
    above, beside = drawn.randint(1, below - 1), drawn.randint(1, other - 1)
    total = Fraction(above, below) + Fraction(beside, other)
    text = rf"What is $\frac{{{above}}}{{{below}}} + \frac{{{beside}}}{{{other}}}$? Give a fraction in lowest terms."
    answer = str(total.numerator) if total.denominator == 1 else rf"\frac{{{total.numerator}}}{{{total.denominator}}}"
    steps = [[f"Fraction({above}, {below}) + Fraction({beside}, {other})", str(total)]]
    return text, answer, steps


def _roots(drawn: random.Random) -> tuple[str, str, list[list[str]]]:
    one, other = drawn.sample([number for number in range(-9, 10) if number], 2)
    linear, constant = -(one + other), one * other
    middle = f" {'+' if linear > 0 else '-'} {abs(linear)}x" if linear else ""
    text = (
        f"Find all solutions of $x^2{middle} {'+' if constant > 0 else '-'} {abs(constant)} = 0$, separated by commas."
    )
    roots = f"{min(one, other)}, {max(one, other)}"
    return text, roots, [[f"({linear}) ** 2 - 4 * ({constant})", str(linear**2 - 4 * constant)]]


def _bounds(drawn: random.Random) -> tuple[str, str, list[list[str]]]:
    low, width, factor = drawn.randint(-9, 5), drawn.randint(2, 9), drawn.randint(2, 6)
    high = low + width
    text = rf"For which $x$ is ${factor * low} < {factor}x \le {factor * high}$? Give the answer as an interval."
    steps = [[f"{factor * low} / {factor}", f"{low}"], [f"{factor * high} / {factor}", f"{high}"]]
    return text, f"({low},{high}]", steps


def _percent(drawn: random.Random) -> tuple[str, str, list[list[str]]]:
    whole, share = drawn.choice((20, 40, 50, 80, 200, 400)), drawn.choice((5, 10, 15, 25, 35, 45, 60))
    part = Fraction(whole * share, 100)
    while part.denominator != 1:
        whole, share = drawn.choice((20, 40, 80, 200, 400)), drawn.choice((5, 10, 15, 25, 35, 45, 60))
        part = Fraction(whole * share, 100)
    text = f"Of {whole} seedlings, {part} have come up. What percent of the seedlings is that?"
    return text, str(share), [[f"{part} * 100 / {whole}", str(share)]]


_KINDS: Final = {
    "two steps": _market,
    "three steps": _journey,
    "fractions": _share,
    "roots": _roots,
    "intervals": _bounds,
    "percent": _percent,
}
