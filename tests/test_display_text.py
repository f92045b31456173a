"""Text on its way to a terminal."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from thread_cli.display.text import brief, clean, clean_lines, compact, cut, duration, headline


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("\x9b2Jclear", "clear"),
        ("\x1b]0;never closed", "0;never closed"),
        ("\x1bPdevice\x1b\\x", "x"),
        ("a\u202eb\u2066c\u200dd\u200be\ufefff", "abcdef"),
        ("one \r\n two\nthree\u2028four\x85five", "one⏎two⏎three⏎four⏎five"),
        ("a\tb", "a b"),
        ("bell\x07back\x08null\x00del\x7f", "bellbacknulldel"),
        ("\ud800", ""),
        ("e\u0301", "e\u0301"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        ("漢字 é ß 👍", "漢字 é ß 👍"),
    ],
)
def test_cleaned_text_holds_nothing_that_a_terminal_obeys(text, shown):
    assert clean(text) == shown


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\x1b[]PX\\\x07\x9b\x9c;0m\n\u202e"))))
def test_cleaning_any_text_leaves_printable_characters_and_is_final(text):
    cleaned = clean(text)
    assert all(char.isprintable() or char.isspace() for char in cleaned)
    assert not set(cleaned) & set(map(chr, [*range(32), 127, *range(0x80, 0xA0)]))
    assert clean(cleaned) == cleaned


def test_cleaning_takes_time_in_proportion_to_the_text():
    began = time.perf_counter()
    for piece in ("\x1b]", "\x1b[", "\x1bP\x1b", "\x9d", "\u0301", " \n", " ", "\t"):
        clean("x\u00e9" + piece * 100_000 + "x")
        clean(piece * 100_000)
    assert time.perf_counter() - began < 5


def test_lines_keep_the_blanks_at_both_ends():
    assert clean_lines("  a\x1b[0m\n\n\tb  \r\nc") == ["  a", "", "    b  ", "c"]


@given(st.text(), st.integers(0, 40))
def test_cut_text_never_takes_more_cells_than_given(text, cells):
    assert cell_len(cut(clean(text), cells)) <= cells


def test_wide_characters_count_as_two_cells():
    assert cut("漢字かな", 6) == "漢字…"


def test_numbers_and_times_stay_short():
    numbers = [0, 999, 1_000, 9_949, 9_950, 999_499, 999_500, 10**9, 10**12, 10**15]
    assert [compact(number) for number in numbers[:6]] == ["0", "999", "1.0k", "9.9k", "10k", "999k"]
    assert all(len(compact(number)) <= 5 for number in numbers)
    assert [duration(seconds) for seconds in (0, 59.94, 59.96, 125, 11_220)] == [
        "0.0s",
        "59.9s",
        "1m00s",
        "2m05s",
        "3h07m",
    ]


def test_short_times_are_told_in_milliseconds():
    times = [
        brief(seconds) for seconds in (0, 0.00042, 0.00994, 0.00996, 0.0124, 0.9994, 0.9996, 4.321, 9.996, 59.9, 125)
    ]
    assert times == ["0ms", "0.4ms", "9.9ms", "10ms", "12ms", "999ms", "1.00s", "4.32s", "10.0s", "59.9s", "2m05s"]


def test_a_context_is_named_by_its_last_line():
    assert headline("Commands:\n...\n\nGoal: craft oak door.\n") == "Goal: craft oak door."
    assert headline("get 2 oak logs =>") == "get 2 oak logs"
