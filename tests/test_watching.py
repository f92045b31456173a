"""Runs of tests whose workers die, or in which nothing moves, come to an end and name the tests at fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = """
from watching import Watch

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Watch({quiet}, ["test_long.py", "test_none.py"]))
"""
DIES = """
import os, signal, pytest

@pytest.mark.parametrize("n", range(4))
def test_n(n):
    if n in {deadly}:
        os.kill(os.getpid(), signal.SIGILL)
"""


def run(folder: Path, quiet: float, **files: str) -> subprocess.CompletedProcess[str]:
    """Run test files as `make test` does."""
    (folder / "conftest.py").write_text(CONFTEST.format(quiet=quiet))
    (folder / "pytest.ini").write_text("[pytest]\n")
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    switches = ["-n", "2", "--dist", "loadfile", "--max-worker-restart", "50", "-p", "no:cacheprovider"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *switches],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_each_test_that_kills_its_worker_is_named_and_all_others_are_run(tmp_path: Path) -> None:
    files = {name: DIES.format(deadly=deadly) for name, deadly in (("a", {1, 2}), ("b", {3}), ("c", {0, 3}))}
    ran = run(tmp_path, 40, **files)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "5 failed, 7 passed" in ran.stdout
    for test in ("test_a.py::test_n[1]", "test_a.py::test_n[2]", "test_b.py::test_n[3]", "test_c.py::test_n[0]"):
        assert ran.stdout.count(f"FAILED {test}") == 1


def test_a_run_in_which_nothing_moves_ends_and_names_what_was_under_way(tmp_path: Path) -> None:
    hangs = "import ctypes\n\ndef test_hangs():\n    ctypes.PyDLL(None).sleep(1000)\n"
    ran = run(tmp_path, 6, a=hangs, b="def test_fine():\n    pass\n")
    assert ran.returncode == 2
    assert "No test has begun or ended for 6 s. Under way:\n  test_a.py::test_hangs, for " in ran.stderr


def test_files_that_take_long_are_begun_first_though_they_have_few_tests(tmp_path: Path) -> None:
    note = "import time, pathlib\n\ndef test_{n}():\n    with open('order', 'a') as file:\n        print('{name}', file=file)\n    time.sleep(0.1)\n"
    files = {
        name: "".join(note.format(n=n, name=name) for n in range(many))
        for name, many in zip(("a", "b", "c", "long"), (4, 4, 4, 1), strict=True)
    }
    ran = run(tmp_path, 40, **files)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    order = (tmp_path / "order").read_text().split()
    assert len(order) == 13
    assert "long" in order[:2]
