"""What the documents show works as shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from processes import thread

ROOT = Path(__file__).parents[1]


def test_the_python_example_of_the_readme_runs(tmp_path) -> None:
    example = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(example) == 1
    ran = subprocess.run([sys.executable, "-c", example[0]], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("solved ")


def test_the_scripts_of_the_documents_run(tmp_path) -> None:
    plain, toml = re.findall(
        r"```(?:toml)?\n((?:item =|\[\[thread).*?)```", (ROOT / "docs/models.md").read_text(), re.DOTALL
    )
    for name, text in (("script.txt", plain), ("script.toml", toml)):
        (tmp_path / name).write_text(text)
        ran = thread(
            "run", "textcraft", "--model", f"scripted:{name}", "--display", "plain", "--log", name[-4:], cwd=tmp_path
        )
        assert (ran.returncode, ran.stderr) == (1, "thread: the task is not solved (reward 0)\n")
        assert re.findall(r"^0.0 +([>=].*?) *$", ran.stdout, re.MULTILINE) == [
            "> get 4 stick => Could not find stick",
            "= 4 stick",
        ]


def test_every_file_that_the_documents_link_to_is_there() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
