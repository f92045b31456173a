"""Files are there wholly or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from thread_cli.files import rename, written_whole


def test_a_file_replaces_an_older_one_when_all_is_written(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with written_whole(target) as part:
        part.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_is_to_be_new_leaves_an_older_one(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    for text in ("first", "second"):
        try:
            with written_whole(target, new=True) as part:
                part.write_text(text)
        except FileExistsError:
            assert text == "second"
    assert target.read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), written_whole(target) as part:
        part.write_text(str(1 / 0))
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_is_missing_is_told_by_the_name_of_the_file(tmp_path: Path) -> None:
    target = tmp_path / "none" / "a.txt"
    with pytest.raises(FileNotFoundError) as caught, written_whole(target):
        pass
    assert caught.value.filename == str(target)


def test_a_name_as_long_as_names_may_be_is_written(tmp_path: Path) -> None:
    target = tmp_path / ("é" * 127)
    with written_whole(target) as part:
        part.write_text("here")
    assert target.read_text() == "here"


def test_a_writer_that_is_killed_leaves_the_older_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    code = (
        "import os, pathlib, sys\nfrom thread_cli.files import written_whole\n"
        "with written_whole(pathlib.Path(sys.argv[1])) as part:\n    part.write_text('half')\n    os.kill(os.getpid(), 9)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert ran.returncode == -signal.SIGKILL
    assert target.read_text() == "old"


def test_others_may_read_a_file_as_the_user_has_said(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with written_whole(tmp_path / "a.txt") as part:
            part.write_text("")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_a_file_does_not_take_a_name_that_is_taken(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    with pytest.raises(FileExistsError):
        rename(tmp_path / "a", tmp_path / "b")
    rename(tmp_path / "a", tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c"]
