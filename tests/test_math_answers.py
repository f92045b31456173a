"""How the environment `math` reads answers: which text is the answer, what it says, and what it equals."""

from __future__ import annotations

import pytest

from thread_envs.math.answers import answer_in, gold_in
from thread_envs.math.expressions import Unreadable, read
from thread_envs.math.reading import Listing, Row, Text, Value, is_read, reading
from thread_envs.math.verifying import Verifier


@pytest.fixture(scope="module")
def verifier():
    """The comparison as the environment's own process makes it, in a process that keeps its memory."""
    pytest.importorskip("math_verify", reason="needs the extra `math`")
    return Verifier(memory=None)


SAME = {
    "a power of ten after e": [("1000", "1e3"), ("1e3", "1000"), ("1500", "1.5e3"), ("0.001", "1E-3"), ("1e3", r"10^3")],
    "other powers of ten": [("1000", r"$1 \times 10^3$"), (".0000672", r"6.72 \cdot 10^{-5}"), (".0000672", "6.72e-5")],
    "lists in any order": [("12,15", "12, 15"), ("12, 15", "15, 12"), ("1,-2", "-2 and 1"), ("1,-2", "x=1 or x=-2")],
    "sets": [(r"\{1,2\}", r"\{2, 1\}"), (r"\{1,1,2\}", r"\{1,2\}"), (r"\{1\pm\sqrt{5},-2\}", r"-2, 1-\sqrt5, 1+\sqrt5")],
    "plus and minus": [(r"1 \pm \sqrt{19}", r"1+\sqrt{19}, 1-\sqrt{19}"), (r"3 \pm 2 \sqrt{2}", r"3±2√2")],
    "ratios": [("3:4", "3:4"), ("3:4", "6:8"), (r"\frac34", "3:4"), ("3:4", "0.75"), ("10:30", "10:30")],
    "fractions without dollars": [(r"\frac12", r"\frac12"), (r"\frac12", "0.5"), (r"\frac12", "1/2"), (r"\frac 59", "5/9")],
    "tuples without dollars": [("(1,2)", "(1,2)"), ("(1,2)", "$(1, 2)$"), ("(1,2)", r"\left( 1, \frac42 \right)")],
    "thousands": [("1,234", "1234"), ("1234", "$1,234.00"), (r"10,\!080", "10,080"), ("58,500", "58500")],
    "lists of thousands": [("1,000, 2,000", "2000, 1000"), (r"11,\! 111,\! 111", "11111111")],
    "mixed numbers": [(r"1\frac{4}{5}", "9/5"), ("9/5", "1 4/5"), (r"137 \frac{1}{2}", "137.5"), (r"-1\frac12", "-1.5")],
    "words": [(r"\text{east}", "east"), (r"\text{Evelyn}", "Evelyn."), ("even", "Even"), (r"\text{ellipse}", "an ellipse")],
    "choices": [(r"\text{(C)}", "C"), (r"\text{(C)}", "(C)"), (r"\text{(A)}", "A"), (r"\text{(C)}", r"\textbf{(C)}")],
    "units": [(r"5.4 \text{ cents}", "5.4"), (r"\$36", "36 dollars"), ("18", "$18"), ("18", "18 eggs per day")],
    "units with powers": [(r"864 \mbox{ inches}^2", "864 square inches"), (r"15\mbox{ cm}^2", "15 cm^2")],
    "degrees": [(r"90^\circ", "90"), (r"90^\circ", "90 degrees"), ("90", r"90^{\circ}"), ("90°", r"90^\circ")],
    "percent": [(r"50\%", "50%"), (r"50\%", "50"), (r"50\%", "0.5"), ("0.5", "50%"), ("0.5", "50 percent")],
    "assignments": [("x=5", "5"), ("5", "x = 5"), ("18", r"9 \times 2 = 18"), ("18", "Total cost = 18"), ("7", "f(3) = 7")],
    "equations": [("y = 2x + 3", "y=3+2x"), ("y = 2x + 3", "2x - y + 3 = 0"), ("y = -2x", "-2x")],
    "multiples of equations": [("5x - 7y + 11z + 4 = 0", "10x - 14y + 22z + 8 = 0")],
    "other bases": [("52_8", "52_{8}"), ("52_8", r"52_{\text{eight}}"), ("4210_{5}", "4210_5"), ("52_8", "52 base 8")],
    "intervals": [("[-2,7]", r"-2 \le x \le 7"), (r"x \in [-2,7]", "[-2, 7]"), (r"(2,\infty)", "x > 2")],
    "unions": [(r"(-\infty,2)\cup(3,\infty)", "x<2 or x>3"), (r"(2,12) \cup (12,102)", r"(12,102)\cup(2,12)")],
    "matrices": [(r"\begin{pmatrix} -2 \\ 1/3 \end{pmatrix}", r"\begin{bmatrix}-2\\\frac13\end{bmatrix}")],
    "expressions": [(r"2\sqrt{5}", r"\sqrt{20}"), (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt 3}"), ("p - q", "-q+p")],
    "more expressions": [(r"\cot x", r"\frac{\cos x}{\sin x}"), ("288π", r"288 \pi"), ("2k+2", "2(k+1)"), ("8", r"\sqrt{64}")],
    "logarithms and powers": [(r"2\ln 3", r"\ln 9"), (r"\log_2 8", "3"), ("2^{10}", "1024"), ("e^2", "e^{2}")],
    "complex numbers": [("6 - 5i", "-5i + 6"), ("2i", "(1+i)^2")],
    "plain notation": [(r"\frac{20000}{\pi}", "20000/pi"), (r"70 \sqrt{2}", "70 sqrt(2)"), ("x^2", "x²"), ("x^{10}", "x**10")],
    "markdown": [("18", "**18**"), ("18", "`18`"), ("18", "*18*."), ("18", r"\(18\)"), ("18", r"\[ 18 \]")],
}  # fmt: skip

OTHER = {
    "a power of ten after e": [("1", "1e3"), ("3", "1e3"), ("1", "1.5e3"), ("1e3", "1e4")],
    "lists": [("15", "12, 15"), ("12", "12, 15"), ("1,-2", "1"), ("1,-2", "1,-2,3"), ("1, 1, 2", "1, 2"), ("18", "18 or 20")],
    "decimal commas": [("1.2", "1,2"), ("1,2", "1.2"), ("2,3", "23"), ("1.234", "1,234")],
    "ratios": [("3", "3:4"), ("4", "3:4"), ("3:4", "4:3"), ("3:4", "3"), ("10:30", "5:15")],
    "nothing": [("", ""), ("1", ""), (r"\frac12", ""), (r"\text{ }", ""), ("$$", "$$")],
    "fractions without dollars": [(r"\frac12", r"\frac13"), (r"\frac12", "12"), (r"\frac12", "(1,2)")],
    "tuples": [("(1,2)", "(1,3)"), ("(1,2)", "(2,1)"), ("(1,2)", "2"), ("(1,2)", "[1,2]"), ("(1,2)", r"\{1,2\}")],
    "thousands": [("1", "1,234"), ("234", "1,234"), ("1234", "1, 234"), ("1234", "(1,234)"), ("123", "1 23")],
    "mixed numbers": [("4/5", "1 4/5"), ("14/5", "1 4/5"), ("1/5", "1 4/5"), ("4/5", r"1\frac45"), ("4", "1 4/5")],
    "words": [(r"\text{east}", "seat"), (r"\text{east}", "west"), (r"\text{odd}", "dod"), (r"\text{Evelyn}", "not Evelyn")],
    "choices": [(r"\text{(C)}", "(B)"), (r"\text{(C)}", "C and D")],
    "units": [(r"5.4 \text{ cents}", "5.4 dollars"), (r"\$36", "36 cents"), (r"864 \mbox{ inches}^2", "864 inches")],
    "variables that look like units": [("5", "5m"), ("12", "12c"), ("12c", "12"), ("7t", "7"), ("3", "3h"), ("2ab", "2")],
    "percent": [(r"50\%", "5"), ("50", "0.5"), ("5", "50%"), ("0.5", "0.5%"), ("9", r"9\%"), (r"50\%", "0.05")],
    "assignments": [("x=5", "y=5"), ("x=5", "x=6"), ("7", "2x+3=7"), ("y = 2x + 3", "y = 3x + 2")],
    "equations": [("5x - 7y + 4 = 0", "5x - 7y - 4 = 0"), ("y = 2x + 3", "2x + 3 = 0")],
    "other bases": [("52_8", "42"), ("52_8", "52_9"), ("52_8", "52"), ("52", "52_8")],
    "numbers that round to the same": [(".0000672", ".0000668"), ("0.0000001", "0.0000002"), ("1/3", "0.333333")],
    "numbers close to an expression": [(r"12\pi", "37.699112"), (r"\sqrt{2}", r"\sqrt{2}+10^{-20}"), (r"\sqrt2", "1.414214")],
    "intervals": [("(3,4]", "[3,4)"), ("(3,4]", "(3,4)"), (r"(2,\infty)", r"x \ge 2"), (r"(2,\infty)", r"(-\infty,2)")],
    "what is left over": [("3", "3+"), ("18", "12 of 18"), ("18", "not 18"), ("18", "-18"), ("23", "2 3"), (r"x\star y", r"x\star z")],
    "letters": [("3R^2", "3r^2"), ("288 π", "288"), ("|x|", "x"), ("1", "i"), ("6 - 5i", "6 + 5i"), ("2^{10}", "210")],
    "matrices": [(r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}")],
    "infinity and nothing": [(r"\infty", r"-\infty"), (r"\infty", "1"), (r"\emptyset", "0"), ("0", r"\emptyset")],
}  # fmt: skip


@pytest.mark.parametrize("kind", SAME)
def test_an_answer_is_right_in_another_form(kind, verifier):
    assert [pair for pair in SAME[kind] if not verifier.same(*pair, False)] == []


@pytest.mark.parametrize("kind", OTHER)
def test_an_answer_that_says_something_else_is_wrong(kind, verifier):
    assert [pair for pair in OTHER[kind] if verifier.same(*pair, False)] == []


def test_a_number_of_percents_is_right_without_the_sign_only_where_percents_are_asked_for(verifier):
    assert verifier.same("50", "50%", True)
    assert not verifier.same("50", "50%", False)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So \boxed{1}, or rather \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"The answer is 3. \boxed{4}", "4"),
        (r"\boxed{18", "18"),
        (r"It is \fbox{7}", "7"),
        ("The answer is 18. I hope it is correct.", "18"),
        ("the answer is 3, no, the answer is 12, 15.", "12, 15"),
        ("The final answer is: $x = 5$", "$x = 5$"),
        ("**Answer:** (C)", "(C)"),
        ("The answer is:\n\n$$\n\\frac{1}{2}\n$$", r"$$ \frac{1}{2} $$"),
        ("Work.\n#### 1,234", "1,234"),
        ("The answer is 3.\n\nThat was easy.", "3"),
        ("First 5.\n12, 15", "12, 15"),
        ("First 5.\n\n", "First 5."),
        ("So Janet makes $18 every day.", "$18"),
        (r"Therefore, the value of x is \(\frac{3}{4}\).", r"\frac{3}{4}"),
        ("She makes 9 * 2 = $18 every day.", "She makes 9 * 2 = $18 every day."),
        ("The winner is Evelyn.", "Evelyn."),
        ("She sells 9 eggs for $18.", "She sells 9 eggs for $18."),
        ("The answer is \x08oxed{\x0crac{1}{2}}", r"\frac{1}{2}"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_the_answer_is_the_last_box_or_what_is_called_it_or_the_last_line(text, answer):
    assert answer_in(text) == answer


def test_of_two_numbers_in_a_sentence_neither_is_the_answer(verifier):
    for gold in ("9", "18"):
        assert not verifier.same(gold, answer_in("She sells 9 eggs for $18."), False)


def test_the_gold_answer_stands_behind_the_mark_or_in_the_box():
    assert gold_in("16 - 3 = <<16-3=13>>13\n#### 1,013") == "1,013"
    assert gold_in(r"We get $\boxed{\frac{1}{2}}$.") == r"\frac{1}{2}"
    assert gold_in(" (3,4] ") == "(3,4]"


def test_what_a_text_is_does_not_depend_on_dollars():
    assert isinstance(reading("12, 15"), Listing)
    assert isinstance(reading("$(1,2)$"), Row)
    assert isinstance(reading(r"\frac12"), Value)
    assert reading(r"\frac12").expression == reading(r"$\dfrac{1}{2}$.").expression
    assert isinstance(reading("none of them"), Text)
    assert not is_read(reading("(1, two thirds of it)"))


@pytest.mark.parametrize(
    "text", ["3+", "", "(1", "1)", "2 3", "1/0", "0^{-1}", r"\frac{1}", "x_", "a ? b", "|x", r"\unknown{x}", "5 %% 3"]
)
def test_an_expression_is_read_to_its_end_or_not_at_all(text):
    with pytest.raises(Unreadable):
        read(text)


@pytest.mark.parametrize(
    "text",
    ["(" * 5000 + "1" + ")" * 5000, "-" * 5000 + "1", "{" * 3000, "9" * 10**5, "1e999999", "^" * 4000, "\\frac" * 900],
)
def test_a_monstrous_answer_is_only_a_wrong_one(text, verifier):
    assert not verifier.same("1", text, False)
    assert answer_in(text) == text.strip() or len(answer_in(text)) < len(text)
