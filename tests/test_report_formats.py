"""How reports are written: text, Markdown, LaTeX, CSV, JSON, plots."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import termios
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from rich.cells import cell_len

from thread_cli.bench.arms import Arm, arms_of
from thread_cli.bench.formats import Table, as_latex, as_markdown, as_text
from thread_cli.bench.page import write_page
from thread_cli.bench.plots import write_plot
from thread_cli.bench.report import Run, read_run
from thread_cli.bench.tables import as_csv, as_json, episodes_csv, tables


def everything_printed(read: list[Run], arms: list[Arm], *, times: bool = True) -> list[str]:
    """A run's report in all formats that are printed."""
    texts = [write(table) for table in tables(arms) for write in (as_text, as_markdown, as_latex)]
    return [*texts, as_csv(arms), episodes_csv(arms, times=times), as_json(read, times=times)]


def everything(run: Path, target: Path, *, times: bool) -> list[bytes]:
    """A run's report in all formats."""
    read = [read_run(run)]
    arms = arms_of(read, times=times)
    write_page(target, arms, tables(arms), times=times)
    return [*(text.encode() for text in everything_printed(read, arms, times=times)), target.read_bytes()]


def test_reports_of_the_same_results_are_the_same_bytes(played, rewritten, tmp_path) -> None:
    run = played("faulty:garbage=0.4+teacher")
    later = rewritten(run, lambda result: {"seconds": result.seconds + 7, "finished": "2031-01-01T00:00:00Z"})
    now = everything(run, tmp_path / "a.html", times=False)
    assert now == everything(later, tmp_path / "b.html", times=False)
    assert now != everything(later, tmp_path / "c.html", times=True)


def test_every_format_escapes_what_it_must(played, rewritten) -> None:
    name = "a|b & c_d \x1b[31m<b>$x$\n=1"
    run = rewritten(played("teacher"), lambda _: {"category": name})
    arms = arms_of([read_run(run)])
    by_category = tables(arms)[1]
    assert "\x1b" not in as_text(by_category)
    assert r"a\|b \& c\_d \<b\>\$x\$⏎=1" in as_markdown(by_category)
    assert r"a\textbar{}b \& c\_d $<$b$>$\$x\$" in as_latex(by_category)
    rows = list(csv.DictReader(io.StringIO(episodes_csv(arms))))
    assert [row["category"] for row in rows] == [name.replace("\x1b", "")] * 12


def test_no_format_prints_what_a_terminal_obeys(played, rewritten) -> None:
    obeyed = "\x1b]0;title\x07\x9b31m\x7f\u202e\u2066"
    run = rewritten(played("teacher"), lambda _: {"category": f"a{obeyed}b", "task": obeyed, "message": obeyed})
    read = [read_run(run)]
    arms = arms_of(read)
    for text in everything_printed(read, arms):
        assert not set(obeyed) - {*"]0;title31m"} & set(text)
    assert f"a{obeyed}b" in json.loads(as_json(read))[0]["categories"]


def test_latex_compiles_whatever_stands_in_a_cell(tmp_path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex is installed")
    cells = (
        r"a|b & c_d \x $x$ #1 ~ ^ {y} %",
        "[3em] bracket",
        "* star",
        r"\end{tabular}",
        "<b> ϕ ψ ± · \u2013 \u2212 … ⏎ é ß",
    )
    table = Table(cells[0], ("", *cells), tuple((cell, *cells) for cell in cells), cells)
    head, tail = r"\documentclass{article}\usepackage{booktabs}\begin{document}", r"\end{document}"
    (tmp_path / "t.tex").write_text(f"{head}\n{as_latex(table)}{tail}\n")
    ran = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-1000:]


def test_a_row_of_latex_does_not_begin_as_an_argument_does() -> None:
    rows = as_latex(Table("t", ("", "n"), (("x", "1"), ("[3em]", "2"), ("*", "3")))).splitlines()
    assert "{[}3em] & 2 " + r"\\" in rows
    assert "{*} & 3 " + r"\\" in rows


def test_all_forms_say_what_an_independent_count_of_the_result_files_says(played) -> None:
    folder = played("faulty:garbage=0.05+teacher")
    files = [json.loads(file.read_text()) for file in (folder / "results").iterdir()]
    solved = sum(each["status"] == "solved" for each in files)
    tokens = sum(each["totals"]["prompt_tokens"] + each["totals"]["generated_tokens"] for each in files)
    failures = Counter(each["failure"] for each in files if each["failure"])
    categories = Counter(each["category"] for each in files if each["status"] == "solved")
    assert 0 < solved < 12

    read = [read_run(folder)]
    arms = arms_of(read)
    (one,) = json.loads(as_json(read))
    assert (one["episodes"], one["successes"], one["success_rate"]) == (12, solved, solved / 12)
    assert one["tokens"]["total"] == tokens
    assert {kind: count for kind, count in one["failures"].items() if count} == failures
    assert {name: rate["successes"] for name, rate in one["categories"].items() if rate["successes"]} == categories
    (row,) = csv.DictReader(io.StringIO(as_csv(arms)))
    flat = (row["suite"], row["method"], row["model"], row["episodes"], row["successes"], row["tokens.total"])
    assert flat == (one["suite"], one["method"], one["model"], "12", str(solved), str(tokens))
    assert {name: int(row[f"failures.{name}"]) for name in failures} == failures
    wanted = [f"{solved}", f"{100 * solved / 12:.1f}", f"{tokens:,}"]
    for write in (as_text, as_markdown, as_latex):
        printed = "\n".join(map(write, tables(arms)))
        assert all(re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d.,])", printed) for figure in wanted)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_fit_the_terminal_and_lose_nothing(played, width) -> None:
    for table in tables(arms_of([read_run(played("teacher")), read_run(played("faulty:garbage=0.4+teacher"))])):
        folded = as_text(table, width)
        assert max(map(cell_len, folded.splitlines())) <= width
        for cell in {cell for row in (table.headings[1:], *(row[1:] for row in table.rows)) for cell in row}:
            assert cell in folded
    wide = as_text(table, 1000)
    assert wide == as_text(table)


def test_names_too_long_for_a_line_are_folded_and_keep_every_character() -> None:
    name = "thread · openai:some-model-with-a-very-long-name@http://127.0.0.1:8000/v1 文字文字文字文字"
    table = Table("t", ("", "tasks"), ((name, "200"), ("short", "1")))
    lines = as_text(table, 30).splitlines()
    assert max(map(cell_len, lines)) <= 30
    assert name.replace(" ", "") in "".join(line.replace(" ", "").replace("200", "") for line in lines)


def test_a_terminal_gets_tables_of_its_width(played, tmp_path) -> None:
    reader, writer = os.openpty()
    termios.tcsetwinsize(writer, (24, 60))
    command = [sys.executable, "-m", "thread_cli", "report", str(played("teacher"))]
    unset = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    with subprocess.Popen(command, stdout=writer, cwd=tmp_path, env=unset) as shown:
        os.close(writer)
        text = b""
        with suppress(OSError):  # how a terminal that nobody writes to any more ends
            while piece := os.read(reader, 4096):
                text += piece
    os.close(reader)
    assert shown.returncode == 0
    assert "critical path" in text.decode()
    assert max(cell_len(line.rstrip()) for line in text.decode().splitlines()) <= 60


def test_csv_has_a_line_for_each_run_or_each_episode(played) -> None:
    arms = arms_of([read_run(played("teacher")), read_run(played("faulty:garbage=0.4+teacher"))])
    summary = list(csv.DictReader(io.StringIO(as_csv(arms))))
    assert [int(row["episodes"]) for row in summary] == [12, 12]
    episodes = list(csv.DictReader(io.StringIO(episodes_csv(arms))))
    assert len(episodes) == 24
    assert sum(row["status"] == "solved" for row in episodes) == sum(int(row["successes"]) for row in summary)


def test_columns_of_text_are_aligned(played) -> None:
    table = tables(arms_of([read_run(played("teacher"))]))[2]
    lines = as_text(table).splitlines()[2:5]
    assert len({cell_len(line) for line in lines}) == 1


def test_runs_of_the_same_name_are_told_apart(played, rewritten) -> None:
    runs = [read_run(played("teacher")), read_run(rewritten(played("teacher"), lambda _: {}))]
    assert len({arm.label for arm in arms_of([*runs, runs[0]])}) == 3


def test_a_model_in_a_file_is_called_without_its_folders(played) -> None:
    run = read_run(played(f"scripted:{played('teacher').parent / 'hostile.toml'}"))
    assert [arm.label for arm in arms_of([run])] == ["thread · scripted:hostile.toml"]
    assert str(run.model) in as_json([run])


# --- plots


def test_plots_are_the_same_bytes_for_the_same_results(played, rewritten, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: the extra `report`")
    runs = [
        read_run(played("teacher")),
        read_run(rewritten(played("faulty:garbage=0.4+teacher"), lambda _: {"category": "$x"})),
    ]
    for name in ("a.svg", "b.svg", "a.png", "a.pdf"):
        write_plot(tmp_path / name, arms_of(runs))
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_many_runs_are_drawn_below_each_other(played, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: the extra `report`")
    run = read_run(played("teacher"))
    write_plot(tmp_path / "few.png", arms_of([run]))
    write_plot(tmp_path / "many.png", arms_of([run] * 9))
    wide = [int.from_bytes((tmp_path / name).read_bytes()[16:20]) for name in ("few.png", "many.png")]
    assert wide[0] < wide[1]


def test_without_matplotlib_the_remedy_is_told(played, tmp_path) -> None:
    script = (
        "import sys; sys.modules['matplotlib'] = None; sys.argv = ['thread', 'report', sys.argv[1], '--plot', 'a.png']\n"
        "from thread_cli.cli.app import main; main()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(played("teacher"))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "--plot needs matplotlib" in ran.stderr
