"""Models by name: fetched through a loopback hub, interrupted, continued, checked, and found without a network."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hubs import Hub

from thread_cli.contracts.errors import UserError

pytest.importorskip("huggingface_hub")

from thread_cli.models.llama.hub import chosen

CODE = """
import resource, sys
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
from thread_cli.contracts.errors import UserError
from thread_cli.assembly.config import ModelSpec
from thread_cli.assembly.models import local_file
try:
    print(local_file(ModelSpec.of_this_machine(sys.argv[1]), lambda line: print(line, file=sys.stderr)))
except UserError as error:
    print(f"refused: {error.message}")
"""
NAMES = ["README.md", "model-Q4_0.gguf", "model-Q4_K_M.gguf", "model-q8_0.gguf", "mmproj-model-Q8_0.gguf"]


def command(url, home, *arguments):
    env = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    for name in ("HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"):
        env.pop(name, None)
    env |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "")
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def fetch(url, home, *arguments):
    out, err = command(url, home, *arguments).communicate(timeout=60)
    lines = out.splitlines()
    assert len(lines) == 1, (out, err)
    return lines[0], err


def test_a_quantisation_is_found_by_its_name():
    assert chosen(NAMES, "q8_0", "o/r") == ["model-q8_0.gguf"]
    assert chosen(NAMES, "Q4_0", "o/r") == ["model-Q4_0.gguf"]
    assert chosen(NAMES, "", "o/r") == ["model-Q4_K_M.gguf"]
    assert chosen(["a/m-F16.gguf"], "", "o/r") == ["a/m-F16.gguf"]
    parts = [f"m-Q8_0-0000{part}-of-00003.gguf" for part in (1, 2, 3)]
    assert chosen(parts[::-1], "Q8_0", "o/r") == parts
    with pytest.raises(UserError, match=r"no file Q5_K; there are model-Q4_0.gguf, "):
        chosen(NAMES, "Q5_K", "o/r")
    with pytest.raises(UserError, match="it holds no GGUF files"):
        chosen(["README.md"], "", "o/r")


def test_an_interrupted_download_is_continued_checked_and_found_offline(tmp_path):
    data = random.Random(1).randbytes(30_000_000)
    with Hub({"model-Q8_0.gguf": data, "README.md": b"x"}) as hub:
        hub.stalls = 15_000_000
        first = command(hub.url, tmp_path, "hf:owner/repo-GGUF:Q8_0")
        assert hub.stalled.wait(30)
        part = tmp_path / "hub" / "models--owner--repo-GGUF" / "blobs"
        while not (parts := list(part.glob("*.part"))) or parts[0].stat().st_size == 0:
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        have = parts[0].stat().st_size
        hub.stalls = None
        path, told = fetch(hub.url, tmp_path, "hf:owner/repo-GGUF:Q8_0")
        assert hub.ranges == [None, f"bytes={have}-"]
        assert f"fetching model-Q8_0.gguf, 0.03 GB, of which {have / len(data):.0%} are there" in told
        assert Path(path).read_bytes() == data
        again, _ = fetch(hub.url, tmp_path, "hf:owner/repo-GGUF:Q8_0")
        assert (again, len(hub.ranges)) == (path, 2)
        url = hub.url
    assert fetch(url, tmp_path, "hf:owner/repo-GGUF")[0] == path
    line, _ = fetch(url, tmp_path, "hf:owner/repo-GGUF:Q4_0")
    assert line.startswith("refused: llama:hf:owner/repo-GGUF:Q4_0")
    assert "cannot be reached, and the cache has no such file" in line


def test_all_parts_of_a_model_are_fetched(tmp_path):
    files = {f"m-Q8_0-0000{part}-of-00002.gguf": bytes([part]) * 1000 for part in (1, 2)}
    with Hub(files) as hub:
        path, _ = fetch(hub.url, tmp_path, "hf:owner/repo-GGUF:Q8_0")
    for name, data in files.items():
        assert Path(path).with_name(name).read_bytes() == data


def test_what_cannot_be_had_is_told_in_one_line(tmp_path):
    name = "model-Q8_0.gguf"
    with Hub({name: b"g" * 5000}) as hub:
        hub.digests[name] = "ab" * 32
        line, _ = fetch(hub.url, tmp_path, "hf:owner/repo-GGUF:Q8_0")
        assert "came with the SHA-256" in line
        assert "removed; try again" in line
        hub.digests.clear()
        hub.missing.add(name)
        assert "is listed" in fetch(hub.url, tmp_path, "hf:owner/repo-GGUF:Q8_0")[0]
        hub.missing.clear()
        hub.sizes[name] = 10**15
        line, _ = fetch(hub.url, tmp_path, "hf:owner/repo-GGUF:Q8_0")
        assert "needs 1000000.0 GB more" in line
        hub.sizes.clear()
        assert "the disk is full" in fetch(hub.url, tmp_path, "hf:owner/repo-GGUF:Q8_0", "2000")[0]
        assert "has no such repository" in fetch(hub.url, tmp_path, "hf:owner/other")[0]
        assert "write llama:hf:OWNER/REPO" in fetch(hub.url, tmp_path, "hf:nonsense")[0]
        assert fetch(hub.url, tmp_path, "hf:owner/repo-GGUF:Q8_0")[0].endswith(name)
