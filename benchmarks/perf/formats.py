"""The local backend beside every other way to run a model on this CPU, and beside the machine's limits, by format.

    python benchmarks/perf/formats.py [FILE.gguf …] [--formats q8_0,q4_k_m,q4_0] [--quick] [--path vnni]

Each file (by default the packaged SmolLM2) is brought into each format, as `thread models prepare` does. Then all
contenders take turns at three things: prefill of 512 tokens, and decoding after that prompt by one and by eight
threads, all in one batch. Each is a process of its own; the quickest of its turns counts. One that dies is named and
left out.

Contenders: the commit a37971d, compiled anew (where llama.cpp's extra buffers kill it, with the patch that lies beside
this file); llama.cpp as llama-cpp-python was compiled here, and as PyPI's `xllamacpp` and `ik-llama-cpp-python` bring
it. The server's rates are those it tells; by the client's clock, they are a row of their own.

The floor of decoding by one is the bytes of all weights, without the table of embeddings and with the output layer,
over the best read of as many bytes by as many CPU threads. The one of prefill is its operations over the machine's int8
peak, by the instruction that our kernels use. Both are measured in turn with the contenders. The last lines say which
targets hold; the exit code is 0 if all do.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from formats_contenders import OLD, OURS, Child, Contender, Died, Variant, contenders
from formats_floor import Work, work_of
from formats_targets import CELLS, Table, judged

from thread_cli.contracts.errors import UserError
from thread_cli.distribution import cache_folder
from thread_cli.models.llama.accelerator import PATHS, missing, paths
from thread_cli.models.llama.model import physical_cores
from thread_cli.models.llama.prepare import packaged, prepare

PROMPT, MANY = 512, 8
ROUNDS, STEPS = 3, 32
QUICK_ROUNDS, QUICK_STEPS = 1, 3
MEMORY = 2.2
"""Times a file's size that a contender may hold in memory: as it is, and as it is repacked."""
BOUNDS = "the machine"


@dataclass
class Taking:
    """A contender that takes part in a table: as which variant, and its best turns in tokens per second."""

    contender: Contender
    variant: Variant
    told: str
    child: Child | None
    best: dict[str, float] = field(default_factory=dict[str, float])
    wall: dict[str, float] = field(default_factory=dict[str, float])
    """By the client's clock, of a contender that tells its own times too."""

    @property
    def label(self) -> str:
        name = self.contender.name if self.contender.name in {OURS, OLD} else self.told
        return f"{name}{self.variant.name}"


@dataclass
class Turns:
    """What is measured in one table."""

    model: Path
    work: Work
    threads: int
    path: str
    rounds: int
    steps: int

    def open(self, contender: Contender, left_out: list[str]) -> Taking | None:
        """Start the first of a contender's variants that lives through all that it will be asked."""
        for variant in contender.variants:
            try:
                child = contender.start(variant, self.model, self.threads)
                child.ask(prefill=PROMPT)
                child.ask(decode=1, steps=1)
                child.ask(decode=MANY, steps=1)
            except Died as died:
                left_out.append(f"{contender.name}{variant.name} died: {died}")
            else:
                return Taking(contender, variant, child.told, child)
        return None

    def take(self, one: Taking, cell: str) -> None:
        """One turn."""
        if one.child is None:
            one.child = one.contender.start(one.variant, self.model, self.threads)
        if cell == "prefill":
            found, tokens = one.child.ask(prefill=PROMPT), PROMPT
        else:
            count = 1 if cell == "one" else MANY
            found, tokens = one.child.ask(decode=count, steps=self.steps), count * self.steps
        one.best[cell] = max(one.best.get(cell, 0), tokens / found["seconds"])
        if "wall" in found:
            one.wall[cell] = max(one.wall.get(cell, 0), tokens / found["wall"])


@dataclass
class Bounds:
    """The best reads and operations of a second so far."""

    child: Child
    read: float = 0.0
    peak: float = 0.0

    def look(self, turns: Turns) -> None:
        self.read = max(self.read, turns.work.bytes / self.child.ask(read=turns.work.bytes)["seconds"])
        self.peak = max(self.peak, self.child.ask(peak=PATHS[turns.path])["rate"])  # type: ignore[index]


def measured(turns: Turns, all_: list[Contender]) -> tuple[dict[str, Taking], Bounds, list[str]]:
    """Let all take turns.

    Raises:
        Died: ours, or what measures the machine.
    """
    left_out: list[str] = []
    keep = _available_memory() > MEMORY * turns.model.stat().st_size * len(all_)
    machine = Contender(BOUNDS, "bounds", (Variant(options={"bytes": turns.work.bytes}),))
    bounds = Bounds(machine.start(machine.variants[0], turns.model, turns.threads))
    taking: dict[str, Taking] = {}
    try:
        for contender in all_:
            one = turns.open(contender, left_out)
            if one is not None:
                taking[contender.name] = one
                _rest(one, keep=keep)
        if OURS not in taking:
            raise Died("; ".join(left_out))
        for number in range(turns.rounds):
            names = list(taking)
            at = number % len(names)
            order = names[at:] + names[:at]
            steps = [(name, cell) for cell in CELLS for name in order]
            for name, cell in steps if keep else [(name, cell) for name in order for cell in CELLS]:
                if name not in taking:
                    continue
                bounds.look(turns)
                try:
                    turns.take(taking[name], cell)
                except Died as died:
                    if name == OURS:
                        raise
                    left_out.append(f"{taking.pop(name).label} died: {died}")
                    continue
                if cell == CELLS[-1]:
                    _rest(taking[name], keep=keep)
    finally:
        bounds.child.close()
        for one in taking.values():
            _rest(one, keep=False)
    return taking, bounds, left_out


def _rest(one: Taking, *, keep: bool) -> None:
    """End a contender's process where memory does not hold all of them."""
    if not keep and one.child is not None:
        one.child.close()
        one.child = None


def _available_memory() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text("ascii").splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def table_of(name: str, format_: str, turns: Turns, all_: list[Contender]) -> Table:
    """Measure one model in one format, and print it."""
    taking, bounds, left_out = measured(turns, all_)
    ours = taking.pop(OURS)
    floor = {
        "prefill": bounds.peak * PROMPT / turns.work.operations(PROMPT),
        "one": bounds.read / turns.work.bytes,
    }
    others = {one.label: one.best for one in taking.values()}
    old = next((one.label for one in taking.values() if one.contender.name == OLD), OLD)
    table = Table(name, format_, turns.work.parameters, turns.path == "amx", old, ours.best, others, floor, left_out)
    size = turns.model.stat().st_size
    print(
        f"\n{name} {format_}: {size / 1e6:.0f} MB, {turns.work.bytes / 1e6:.0f} MB read a step, "
        f"{turns.work.operations(PROMPT) / 1e9:.0f} G operations in {PROMPT} tokens; {turns.threads} CPU threads, "
        f"load {os.getloadavg()[0]:.1f}; ours by {turns.path.upper()}, {ours.told}"
    )
    print(f"  tokens per second (ours/it){'prefill 512':>32}{'one decodes':>20}{'eight decode':>20}")
    rows = {OURS: ours.best, **others}
    rows |= {f"{one.label}, client's clock": one.wall for one in taking.values() if one.wall}
    for label, best in rows.items():
        print(f"  {label:40}{''.join(_figure(ours.best, best, cell) for cell in CELLS)}")
    peak, read = bounds.peak / 1e12, bounds.read / 1e9
    print(f"  {'floor':40}{''.join(_figure(ours.best, floor, cell) for cell in CELLS)}")
    print(f"  prefill at {table.share():.0%} of the int8 peak of {peak:.3f} TOPS; memory is read at {read:.1f} GB/s")
    print(*(f"  {line}" for line in left_out), sep="\n", end="\n" if left_out else "", flush=True)
    return table


def _figure(ours: dict[str, float], it: dict[str, float], cell: str) -> str:
    return f"{it[cell]:12.2f} ({ours[cell] / it[cell]:5.2f})" if cell in it else f"{'-':>20}"


def run(options: argparse.Namespace) -> int:
    if reason := missing():
        raise UserError(f"our kernels cannot be used here: {reason}")
    path: str = options.path or paths()[0]
    # What is compiled in there is for this release of Python.
    folder = cache_folder() / "benchmarks" / str(sys.implementation.cache_tag)
    folder.mkdir(parents=True, exist_ok=True)
    all_, without = contenders(folder, options.path, _tell)
    print(*(f"left out: {line}" for line in without), sep="\n", end="\n" if without else "")
    rounds, steps = (QUICK_ROUNDS, QUICK_STEPS) if options.quick else (ROUNDS, STEPS)
    tables: list[Table] = []
    for file in options.files or [packaged()]:
        for format_ in options.formats.split(","):
            model = prepare(file, _tell, quant=format_, threads=options.threads)
            turns = Turns(model, work_of(model), options.threads, path, rounds, steps)
            tables.append(table_of(file.stem, format_, turns, all_))
    targets = judged(tables)
    print("", *targets, sep="\n")
    print(*(f"left out     {line}" for line in [*without, *_died(tables)]), sep="\n")
    return 0 if all(target.held for target in targets) else 1


def _died(tables: list[Table]) -> list[str]:
    return [f"{table.name}: {line}" for table in tables for line in table.left_out]


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="GGUF files; by default the packaged SmolLM2")
    parser.add_argument("--formats", default="q8_0,q4_k_m,q4_0", help="formats, divided by commas")
    parser.add_argument("--quick", action="store_true", help="one short turn each: to see that it works")
    parser.add_argument("--path", choices=["vnni", "amx"], help="what ours multiplies by, if not the processor's best")
    parser.add_argument("--threads", type=int, default=physical_cores(), help="CPU threads of all contenders")
    try:
        return run(parser.parse_args())
    except (UserError, Died) as error:
        print(f"formats.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
