# ruff: noqa: F821
"""What a session about stays in intensive care holds: its text is run at the beginning of each session, not imported.

`MIMIC_DATA_DIR` is put before it, and `icu_averages` is a function of the host, which reads the files of a large group
once and not in every session. `DATA_DIR` is a name that published THREAD prompts use.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

DATA_DIR = "data_table.txt"


def stay(patient: object) -> pd.DataFrame:
    """What was measured in a patient's first stay, by hour, as a DataFrame."""
    for part in ("all", "train", "test"):
        file = Path(MIMIC_DATA_DIR, "in-hospital-mortality", part, f"{patient}_episode1_timeseries.csv")
        if file.exists():
            return pd.read_csv(file).set_index("Hours").sort_index()
    raise LookupError(f"there is no first stay of a patient {patient!r}")


def stays() -> pd.DataFrame:
    """All stays, one a row, as a DataFrame."""
    return pd.read_csv(f"{MIMIC_DATA_DIR}/all_stays.csv")


def phenotypes() -> pd.DataFrame:
    """Who has which of the 25 phenotypes, 0 or 1, one stay a row, as a DataFrame."""
    labels = pd.read_csv(f"{MIMIC_DATA_DIR}/phenotype_labels.csv")
    return pd.concat([stays()[["SUBJECT_ID"]], labels], axis=1)


def find_column(words: str, table: pd.DataFrame) -> str:
    """The column of a table that has most of these words, and fewest others."""
    asked = set(re.findall(r"\w+", words.casefold()))
    found = {column: set(re.findall(r"\w+", str(column).casefold())) for column in table.columns}
    best = max(found, key=lambda column: (len(asked & found[column]), -len(found[column] - asked)))
    if not asked & found[best]:
        raise LookupError(f"no column is called like {words!r}; there are {', '.join(found)}")
    return best


def averages(patients: Iterable[object], variable: str) -> pd.Series:
    """Each patient's average of a variable, as a Series, of the patients with more than two values."""
    return pd.Series(icu_averages([str(patient) for patient in patients], variable), dtype=float)
