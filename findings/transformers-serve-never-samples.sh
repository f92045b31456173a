#!/usr/bin/env bash
# transformers 5.23.0, `transformers serve`: a call with a temperature above 0 is answered greedily, whatever the seed.
#
# A temperature of 0 switches sampling off; any other sets the temperature alone, and leaves `do_sample` to the model's
# generation_config.json, where it is false unless somebody wrote it there. No error, no warning. Who draws several answers by
# several seeds gets one answer several times. `"generation_config": "{\"do_sample\": true, …}"` in the call gets round it.
# Seen: "temperature 1.0, seeds 1 to 4: 1 text; with do_sample in the call: 4 texts".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check install -q "transformers[serving]==5.23.0" torch==2.13.0 accelerate==1.15.0
cat > "$folder/seen.py" <<'PY'
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import torch
from tokenizers import Tokenizer, decoders, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

folder = sys.argv[1] + "/tiny"
letters = Tokenizer(models.BPE(vocab={chr(97 + n): n for n in range(26)}, merges=[]))
letters.decoder = decoders.Fuse()
PreTrainedTokenizerFast(tokenizer_object=letters).save_pretrained(folder)
torch.manual_seed(0)
sizes = {"vocab_size": 26, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
ends = {"bos_token_id": None, "eos_token_id": None}
LlamaForCausalLM(LlamaConfig(**sizes, **ends)).save_pretrained(folder)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = ["-m", "transformers.cli.transformers", "serve", folder, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
environ = {**os.environ, "HF_HOME": sys.argv[1], "HF_HUB_OFFLINE": "1", "no_proxy": "127.0.0.1"}
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def text(seed, **more):
    body = {"model": folder, "prompt": "abc", "max_tokens": 16, "temperature": 1.0, "seed": seed, **more}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with opener.open(request, timeout=60) as answer:
        return json.load(answer)["choices"][0]["text"]


with subprocess.Popen([sys.executable, *command], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
    try:
        for _ in range(600):
            try:
                opener.open(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                time.sleep(0.2)
        plain = {text(seed) for seed in range(1, 5)}
        told = {text(seed, generation_config='{"do_sample": true}') for seed in range(1, 5)}
        print(f"temperature 1.0, seeds 1 to 4: {len(plain)} text; with do_sample in the call: {len(told)} texts")
    finally:
        server.terminate()
PY
seen=$("$folder/venv/bin/python" "$folder/seen.py" "$folder")
echo "transformers 5.23.0: $seen"
[ "$seen" = "temperature 1.0, seeds 1 to 4: 1 text; with do_sample in the call: 4 texts" ]
