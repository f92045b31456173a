"""How far next-token distributions are from those of 32-bit weights: our kernels' beside llama.cpp's, by format.

    python benchmarks/perf/divergence.py [FILE.gguf …] [--formats …] [--tokens 2048] [--layers N] [--path vnni]

For each file (by default the packaged SmolLM2) and format: the mean Kullback-Leibler divergence over the tokens of a
text (this project's documentation, in pieces of the model's context), of ours, of llama.cpp's, and of llama.cpp's
without extra buffers. The reference is the file's weights as 32-bit floats, computed by llama.cpp with keys and values
in 32 bits and without flash attention. The second figures have another reference: the weights of the format itself, as
32-bit floats. They leave out what the format loses, and show what arithmetic does alone.

Ours may be at most 1.05 times as far from the first reference as llama.cpp, with and without extra buffers; else the
exit code is 1. `--layers N` leaves out all layers but the first N, where memory or patience are short: the table says
so. Disk: the model in 32 bits, and twice 4 bytes for each token of text and of the vocabulary.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thread_cli.contracts.errors import UserError
from thread_cli.distribution import cache_folder
from thread_cli.models.llama.loading import read_header
from thread_cli.models.llama.model import physical_cores
from thread_cli.models.llama.prepare import packaged
from thread_cli.models.llama.quantising import quantise

LIMIT = 1.05
FORMATS = "q8_0,q6_k,q5_k_m,q5_0,q4_k_m,q4_0,iq4_nl,f16,bf16"
WORKER = Path(__file__).with_name("divergence_worker.py")
ROOT = Path(__file__).resolve().parents[2]
LLAMA = {"llama.cpp": {}, "llama.cpp, no extra buffers": {"plain": True}}
ALREADY_NONE = 1e-12
"""A divergence below this is rounding of its own sum: two of that size are alike."""


@dataclass(frozen=True)
class Job:
    """What all evaluations of one model share."""

    folder: Path
    text: Path
    tokens: int
    threads: int
    path: str | None

    def evaluate(self, model: Path, options: dict[str, Any]) -> dict[str, Any]:
        """Run a worker.

        Raises:
            UserError: it died, with the signal, or could not do it.
        """
        arguments = [str(model), str(self.text), str(self.tokens), str(self.threads), json.dumps(options)]
        done = subprocess.run([sys.executable, str(WORKER), *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            status = done.returncode
            how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
            raise UserError(f"{how}: {(done.stderr.strip().splitlines() or ['no word'])[-1][:160]}")
        return json.loads(done.stdout)

    def reference(self, model: Path, name: str, left_out: range) -> Path:
        """The logits of a model's weights in 32 bits."""
        kept = self.folder / f"{name}.f32"
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".gguf") as file:
            quantise(model, Path(file.name), "f32", threads=self.threads, left_out=left_out)
            # Of 32-bit weights alone, there are no extra buffers that could change what is computed.
            self.evaluate(Path(file.name), {"exact": True, "plain": True, "keep": str(kept)})
        return kept


def ratio(ours: float, other: float) -> float:
    """How many times as far; 1 where neither is any distance away."""
    return 1.0 if max(ours, other) < ALREADY_NONE else ours / max(other, ALREADY_NONE)


def compared(job: Job, source: Path, format_: str, left_out: range, reference: Path) -> list[str]:
    """Print the rows of a format; what is above the limit, in lines."""
    with tempfile.NamedTemporaryFile(dir=job.folder, suffix=".gguf") as file:
        model = Path(file.name)
        quantise(source, model, format_, threads=job.threads, left_out=left_out)
        own = job.reference(model, format_, range(0))
        against = {"against": [str(reference), str(own)]}
        ours_by: dict[str, Any] = {"path": job.path} if job.path else {}
        ours = job.evaluate(model, {"ours": True, **ours_by, **against})
        print(f"  {format_:8}{'ours: ' + ours['told']:32}{_figures(ours['divergence'])}", flush=True)
        above: list[str] = []
        ran = 0
        for name, options in LLAMA.items():
            try:
                found = job.evaluate(model, {**options, **against})
            except UserError as died:
                print(f"  {'':8}{name:32}  left out: {died}")
                continue
            ran += 1
            times = [ratio(mine, its) for mine, its in zip(ours["divergence"], found["divergence"], strict=True)]
            print(
                f"  {'':8}{name:32}{_figures(found['divergence'])}   ours/it {times[0]:.3f}, arithmetic {times[1]:.3f}",
                flush=True,
            )
            if not times[0] <= LIMIT:
                above.append(f"{source.name} {format_}: {times[0]:.3f} times {name} (at most {LIMIT})")
        own.unlink()
    return above if ran else [f"{source.name} {format_}: llama.cpp did not run, nothing to compare with"]


def _figures(divergences: list[float]) -> str:
    return "".join(f"{each:14.3e}" for each in divergences)


def run(options: argparse.Namespace) -> int:
    above: list[str] = []
    folder = cache_folder() / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    for source in options.files or [packaged()]:
        layers = read_header(source).layers
        left_out = range(min(options.layers or layers, layers), layers)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            text = Path(name, "text")
            text.write_text("\n".join(p.read_text("utf-8") for p in sorted(ROOT.glob("docs/*.md"))), "utf-8")
            job = Job(Path(name), text, options.tokens, options.threads, options.path)
            part = f", {layers - len(left_out)} of {layers} layers" if left_out else ""
            print(f"\n{source.name}{part}: mean divergence over {options.tokens} tokens, in nats, from")
            print(f"  {'':40}{'f32 of file':>14}{'f32 of format':>14}")
            reference = job.reference(source, "source", left_out)
            for format_ in options.formats.split(","):
                above += compared(job, source, format_, left_out, reference)
    print("", *above, sep="\n")
    print(f"{len(above)} above the limit" if above else f"all within {LIMIT} times llama.cpp's")
    return 1 if above else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="GGUF files; by default the packaged SmolLM2")
    parser.add_argument("--formats", default=FORMATS, help="formats, divided by commas")
    parser.add_argument("--tokens", type=int, default=2048, help="tokens of text")
    parser.add_argument("--layers", type=int, help="only the first so many layers")
    parser.add_argument("--path", choices=["vnni", "amx", "amx-emulated"], help="what ours multiplies by")
    parser.add_argument("--threads", type=int, default=physical_cores(), help="CPU threads")
    try:
        return run(parser.parse_args())
    except (UserError, OSError) as error:
        print(f"divergence.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
