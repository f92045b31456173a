"""The set-up of `make run` and `make test` tells what it does, and what to install where it fails."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / "tools"
NO_INDEX = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1", "PIP_CONFIG_FILE": os.devnull}
"""Settings for pip under which no package index answers: nothing listens on port 9."""
NO_LINKS = {"PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "", "PIP_NO_INDEX": ""}
SHELL = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
"""The environment of somebody who types `make`, where these tests run below a `make` themselves."""


def told(folder: Path, command: list[str], *, silence: float = 0.2, unit: str = "") -> list[str]:
    """What the set-up prints while it runs a command, with so many seconds at most between two lines."""
    script = f"""
import sys
from pathlib import Path
from progress import Teller
ran = Teller(Path("log"), sys.stdout, silence={silence}).run("It", {command!r}, {{}}, unit={unit!r})
print("status", ran.status)
"""
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(TOOLS)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()


def advised(command: list[str], **environment: str) -> str:
    """What the set-up advises after a command that fails."""
    failed = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert failed.returncode != 0, failed.stdout
    script = "import sys; from advice import advise; print(advise(sys.stdin.read().splitlines()).sentence)"
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(TOOLS)},
        input=failed.stdout,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def only(folder: Path, *programs: str) -> str:
    """A PATH with these programs and no others; the test is skipped where one of them is not installed."""
    folder.mkdir()
    for program in programs:
        found = shutil.which(program)
        if found is None:
            pytest.skip(f"{program} is not installed")
        (folder / program).symlink_to(found)
    return str(folder)


def project_of_cmake(folder: Path) -> list[str]:
    """The command that configures a small project in C++."""
    (folder / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.15)\nproject(small C CXX)\n")
    return ["cmake", "-S", str(folder), "-B", str(folder / "build")]


def copied(folder: Path) -> Path:
    """As much of the project as its set-up reads."""
    shutil.copytree(TOOLS, folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    return folder


def test_a_command_that_prints_nothing_is_told_of_all_the_same(tmp_path) -> None:
    lines = told(tmp_path, [sys.executable, "-c", "import time; time.sleep(1.5)"])
    assert len(lines) >= 3
    assert all(re.fullmatch(r"It, \d s: starting", line) for line in lines[:-1])


def test_ten_seconds_never_pass_without_a_line_unless_told_otherwise(tmp_path) -> None:
    script = "import inspect, progress; print(inspect.signature(progress.Teller).parameters['silence'].default)"
    ran = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(TOOLS)}, capture_output=True, check=True
    )
    assert float(ran.stdout) <= 8


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("  [31/78] /usr/bin/c++ -O3 -c some.cpp", "compiling, step 31 of 78"),
        ("[ 12%] Building CXX object some.o", "compiling, step 12 of 100"),
        ("  Downloading torch-2.13.0-cp311-manylinux_2_28_x86_64.whl (190.4 MB)", "downloading torch-2.13.0"),
        ("Collecting numpy>=1.26", "looking up numpy"),
        ("Building wheel for jericho (pyproject.toml): started", "building jericho"),
        ("Installing collected packages: a, b, c", "unpacking 3 packages"),
        (
            "Collecting slow\n  Collecting setuptools\n  Running command Getting requirements to build wheel\n  [ 41%] cc",
            "building slow, step 41 of 100",
        ),
    ],
)
def test_what_pip_and_the_build_print_says_how_far_they_are(tmp_path, printed, said) -> None:
    code = f"import time; print({printed!r}, flush=True); time.sleep(1)"
    lines = told(tmp_path, [sys.executable, "-c", code], unit="" if "building" in said else "compiling")
    assert re.match(rf"It, \d s: {re.escape(said)}", lines[-2])


def test_after_a_tenth_of_the_steps_it_is_told_how_long_the_others_take(tmp_path) -> None:
    code = "import time\nfor n in range(1, 11): print(f'[{n}/40] c++', flush=True); time.sleep(0.3)\ntime.sleep(1)"
    lines = told(tmp_path, [sys.executable, "-c", code], unit="compiling")
    steps = [
        found
        for line in lines
        if (found := re.search(r"compiling, step (\d+) of 40(?:, about (\d+) (s|min) left)?$", line))
    ]
    assert steps[-1][1] == "10"
    assert all((step[2] is not None) == (int(step[1]) >= 5) for step in steps)
    assert steps[-1][3] == "min" or int(steps[-1][2]) >= 9  # 30 steps of at least 0.3 s


def test_all_output_of_a_command_is_kept_and_its_status_told(tmp_path) -> None:
    code = "import sys; [print(n) for n in range(5000)]; print('wrong', file=sys.stderr); sys.exit(3)"
    assert told(tmp_path, [sys.executable, "-c", code])[-1] == "status 3"
    kept = (tmp_path / "log").read_text().splitlines()
    assert [line for line in kept if line.isdigit()] == [str(n) for n in range(5000)]
    assert "wrong" in kept


def test_without_a_compiler_it_names_the_package_that_has_one(tmp_path) -> None:
    path = only(tmp_path / "bin", "cmake", "make", "uname")
    assert "there is no C and C++ compiler: install" in advised(project_of_cmake(tmp_path), PATH=path, CC="", CXX="")


def test_without_a_compiler_for_cpp_it_names_the_package_that_has_one(tmp_path) -> None:
    path = only(tmp_path / "bin", "cmake", "make", "uname", "gcc", "as", "ld", "ar", "ranlib")
    assert "there is no C and C++ compiler: install" in advised(project_of_cmake(tmp_path), PATH=path, CC="gcc", CXX="")


def test_without_make_it_names_the_package_that_has_it(tmp_path) -> None:
    path = only(tmp_path / "bin", "cmake", "uname", "gcc", "g++")
    assert "neither make nor ninja to build with: install" in advised(project_of_cmake(tmp_path), PATH=path)


def test_an_old_cmake_is_named(tmp_path) -> None:
    only(tmp_path / "bin", "cmake")
    (tmp_path / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 9.0)\n")
    assert "no recent CMake: install" in advised(["cmake", "-S", str(tmp_path), "-B", str(tmp_path / "build")])


def test_missing_headers_of_python_are_named(tmp_path) -> None:
    only(tmp_path / "bin", "gcc")
    (tmp_path / "small.c").write_text("#include <Python.h>\n")
    assert "headers of Python are missing: install" in advised(["gcc", "-c", str(tmp_path / "small.c")])


def test_a_full_disk_is_named() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    advice = advised([sys.executable, "-c", "open('/dev/full', 'w').write('x' * 100_000)"])
    assert "the disk is full" in advice


def test_a_package_index_that_does_not_answer_is_named() -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "llama-cpp-python"]
    assert "package index cannot be reached" in advised(command, **NO_INDEX, **NO_LINKS)


def test_an_index_that_lacks_a_version_is_named(tmp_path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-index", "--no-deps", "llama-cpp-python==0.0.0"]
    assert "does not have the versions in constraints.txt" in advised(command, **NO_LINKS)


def test_a_failure_of_no_known_kind_shows_its_error() -> None:
    advice = advised([sys.executable, "-c", "raise ValueError('error of its own')"])
    assert advice == "the lines above are what it said about it\n"


def test_what_llama_cpp_python_switches_on_by_force_is_off_with_our_file(tmp_path) -> None:
    only(tmp_path / "bin", "cmake")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.21)\nproject(llama_cpp NONE)\n"
        'option(LLAVA_BUILD "" ON)\nset(LLAMA_BUILD_COMMON ON CACHE BOOL "" FORCE)\n'
        'add_custom_target(vendor-hash ALL)\nmessage(STATUS "${LLAMA_BUILD_COMMON} ${LLAVA_BUILD}")\n'
    )
    command = ["cmake", "-S", str(tmp_path), "-B", str(tmp_path / "build")]
    plain = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "-- ON ON" in plain
    with_file = [*command[:-1], str(tmp_path / "ours"), f"-DCMAKE_PROJECT_llama_cpp_INCLUDE={TOOLS / 'llama.cmake'}"]
    assert "-- OFF OFF" in subprocess.run(with_file, capture_output=True, text=True, check=True).stdout


def test_a_set_up_that_fails_says_why_in_its_last_line(tmp_path) -> None:
    copied(tmp_path)
    failed = subprocess.run(
        ["make", "run", f"PYTHON={sys.executable}"],
        cwd=tmp_path,
        env={**SHELL, **NO_INDEX, **NO_LINKS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode != 0
    lines = failed.stdout.splitlines()
    assert lines[0].startswith("Setting up .venv for TextCraft and local models")
    assert any("llama.cpp" in line and "is compiled" in line for line in lines)
    assert lines[-1].startswith("llama.cpp could not be set up: the package index cannot be reached")
    assert not (tmp_path / ".venv" / ".local").exists()
    assert "llama-cpp-python" in (tmp_path / "build" / "setup.log").read_text()


def test_a_set_up_that_is_interrupted_says_so_and_leaves_no_half_environment(tmp_path) -> None:
    copied(tmp_path)
    with subprocess.Popen(
        [sys.executable, "tools/install.py", "local"],
        cwd=tmp_path,
        env={**os.environ, **NO_INDEX, **NO_LINKS},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        while not (tmp_path / ".venv").exists():
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGINT)
        out, _ = running.communicate()
    assert running.returncode == 130
    assert out.splitlines()[-1] == "The set-up was interrupted; the same command goes on with it."
    assert not (tmp_path / ".venv").exists()


def expanded(extras: str, declared: dict[str, list[str]]) -> set[str]:
    """The packages of extras, with those of the extras that they name."""
    found: set[str] = set()
    for wanted in (wanted for extra in extras.split(",") for wanted in declared[extra]):
        own = re.match(r"thread-runner\[(.+)\]", wanted)
        found |= expanded(own[1], declared) if own else {re.match(r"[\w.-]+", wanted)[0]}
    return found


@pytest.mark.parametrize(("target", "extras"), [("install", "all"), ("test", "all,train,dev")])
def test_what_makes_answers_marked_is_installed_with_every_environment(target, extras) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert f'"{extras}"' in (TOOLS / "install.py").read_text()
    assert re.search(rf"^{target}: \.venv/\.(all|dev) ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "math-verify" in expanded(extras, declared)
    pinned = (ROOT / "constraints.txt").read_text()
    assert all(f"\n{name}==" in pinned for name in ("math-verify", "latex2sympy2_extended", "antlr4-python3-runtime"))


def test_a_name_that_it_does_not_know_is_refused() -> None:
    refused = subprocess.run(
        [sys.executable, TOOLS / "install.py", "everything"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert refused.stderr == "usage: install.py {local,all,dev}\n"


@pytest.mark.slow
def test_a_clean_clone_is_set_up_with_a_line_every_ten_seconds_and_nothing_unused(tmp_path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    for changed in subprocess.run(
        ["git", "ls-files", "--modified", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines():
        (clone / changed).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / changed, clone / changed)
    with subprocess.Popen(
        ["make", "run", f"PYTHON={sys.executable}"],
        cwd=clone,
        env={**SHELL, "PIP_CACHE_DIR": str(tmp_path / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        assert running.stdout is not None
        arrived = [(time.monotonic(), line) for line in running.stdout]
    text = "".join(line for _, line in arrived)
    assert running.returncode == 0, text
    assert max(later - earlier for (earlier, _), (later, _) in itertools.pairwise(arrived)) <= 10, text
    assert re.search(r"^llama\.cpp, .*: compiling, step \d+ of \d+, about .* left$", text, re.MULTILINE)
    libraries = {path.name.split(".")[0] for path in clone.glob(".venv/lib/python*/site-packages/**/lib/lib*")}
    assert {name for name in libraries if re.match("libllama|libggml|libmtmd", name)} == {
        "libllama",
        "libggml",
        "libggml-base",
        "libggml-cpu",
    }
