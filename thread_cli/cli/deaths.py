"""The line that is printed, and the state put in order, when a signal has killed the process of a command."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, Final

from thread_cli.contracts.errors import Status, UserError
from thread_cli.record.closing import close_log
from thread_cli.supervision import signal_name

__all__ = ["account"]

_NATIVE: Final = (
    "a fault of compiled code: try -o model.kernels=false, another model file, or llama-cpp-python installed anew"
)
_CAUSES: Final[dict[int, str]] = {
    signal.SIGILL: "an instruction that this processor does not take: try -o model.kernels=false, "
    "`thread models` tells what has been found to run here",
    signal.SIGKILL: "as the system does where memory runs out: try a smaller model or context, or less at once",
    signal.SIGXCPU: "its limit of processor time is used up: see `ulimit -t`",
    signal.SIGXFSZ: "a file became larger than it may: see `ulimit -f`",
}


def account(number: int, asked_for: bool, notes: dict[str, Any]) -> str:
    """One line on a process killed by a signal, after its log is closed; `notes` are what it left (`supervision`)."""
    name = signal_name(number)
    cause = "" if asked_for else f", {_CAUSES.get(number, _NATIVE)}"
    parts = [f"killed by {name}{cause}"]
    if log := notes.get("log"):
        try:
            close_log(
                Path(log), f"the process was killed by {name}", Status.cancelled if asked_for else Status.engine_error
            )
        except (OSError, UserError) as error:
            parts.append(f"its log cannot be closed ({error})")
        parts.append(f"the log is in {Path(log).parent}")
    if goes_on := notes.get("goes_on"):
        parts.append(str(goes_on))
    return "; ".join(parts)
