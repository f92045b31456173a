"""Makes text of models and environments safe to print.

Such text is never markup and never commands to the terminal. Characters that could move the cursor, recolour, reorder
or hide text are taken out; line ends become visible; lengths are measured in terminal cells, not characters.
"""

from __future__ import annotations

import re
import unicodedata

from rich.cells import cell_len, set_cell_size

__all__ = ["brief", "clean", "clean_lines", "compact", "cut", "dollars", "duration", "headline"]

_LINE_END = "⏎"
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-~]?"
)
_LINE_ENDS = re.compile("\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")
_PLAIN = re.compile(r"[\x20-\x7e]*")
_DROPPED = {"Cc", "Cf", "Cs", "Co", "Cn"}
# A pile of combining marks covers the lines around it; no orthography needs more than this many on one character.
_MARKS = 2


def clean(text: str) -> str:
    """`text` on one line, with nothing in it that a terminal would obey; line ends are shown as `⏎`."""
    if _PLAIN.fullmatch(text):
        return text.strip()
    lines = _LINE_ENDS.split(_SEQUENCES.sub("", text).strip())
    kept: list[str] = []
    marks = 0
    for char in _LINE_END.join(line.strip(" \t") for line in lines).replace("\t", " "):
        category = unicodedata.category(char)
        if category in _DROPPED or _changes_width(char):
            continue
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        if marks <= _MARKS:
            kept.append(char)
    return "".join(kept).strip()


def clean_lines(text: str) -> list[str]:
    """The lines of `text`, each cleaned, the blanks at both its ends kept."""
    return [_keep_blanks(line.expandtabs(4)) for line in _LINE_ENDS.split(_SEQUENCES.sub("", text))]


def headline(text: str) -> str:
    """The most telling line of a context: its last one, without the listen token."""
    line = text.rstrip().removesuffix("=>").rstrip()
    return line[max(line.rfind("\n"), line.rfind("\r")) + 1 :].lstrip()


def cut(text: str, cells: int, ellipsis: str = "…") -> str:
    """`text` if it fits into `cells` terminal cells, else its beginning and an ellipsis."""
    if cell_len(text) <= cells:
        return text
    if cells < len(ellipsis):
        return ""
    return set_cell_size(text, cells - len(ellipsis)).rstrip() + ellipsis


def compact(number: int) -> str:
    """A count in at most five characters: 950, 9.5k, 123k, 1.2M."""
    if number < 1000:
        return str(number)
    for size, unit in ((1_000, "k"), (1_000_000, "M"), (1_000_000_000, "G")):
        if number < 9.95 * size:
            return f"{number / size:.1f}{unit}"
        if number < 999.5 * size:
            return f"{number / size:.0f}{unit}"
    return "many"


def dollars(cost: float | None) -> str:
    """US dollars; `unknown` for None."""
    if cost is None:
        return "unknown"
    return f"${cost:,.2f}" if cost >= 1 or cost == 0 else f"${cost:.4f}"


def duration(seconds: float) -> str:
    """A time in at most six characters: 0.4s, 59.9s, 2m05s, 3h07m."""
    if seconds < 59.95:
        return f"{max(seconds, 0.0):.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def brief(seconds: float) -> str:
    """A time in at most six characters, in milliseconds below one second: 0.4ms, 12ms, 4.32s, 59.9s, 2m05s."""
    if seconds < 0.9995:
        milliseconds = max(seconds, 0.0) * 1e3
        return f"{milliseconds:.{int(0.05 <= milliseconds < 9.95)}f}ms"
    return f"{seconds:.2f}s" if seconds < 9.995 else duration(seconds)


def _keep_blanks(line: str) -> str:
    before, after = len(line) - len(line.lstrip()), len(line) - len(line.rstrip())
    return " " * before + clean(line) + " " * after if line.strip() else ""


def _changes_width(char: str) -> bool:
    """Variation selectors and skin tones: terminals disagree on how wide they make the character before."""
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef" or "\U0001f3fb" <= char <= "\U0001f3ff"
