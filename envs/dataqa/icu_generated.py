"""Made-up stays in an intensive care unit, in the layout of mimic3-benchmarks.

No patient is behind them. Levels are as they are usual in such units; who dies and who has which diagnosis is drawn at
random, and shifts the levels.
"""

from __future__ import annotations

import csv
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from thread_cli.contracts.errors import UserError
from thread_cli.distribution import cache_folder
from thread_envs.dataqa.icu_stays import PHENOTYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["generated_folder"]

_VERSION: Final = 1
"""Goes up with every change of the generated stays."""
_PATIENTS: Final = range(90001, 90049)
_HOURS: Final = 48
_MEASURED: Final = {
    "Diastolic blood pressure": (60, 8, 0.95, 0),
    "Fraction inspired oxygen": (0.5, 0.1, 0.15, 2),
    "Glucose": (135, 25, 0.25, 0),
    "Heart Rate": (88, 12, 0.97, 0),
    "Mean blood pressure": (78, 9, 0.95, 0),
    "Oxygen saturation": (96, 1.5, 0.95, 0),
    "Respiratory rate": (19, 4, 0.95, 0),
    "Systolic blood pressure": (118, 14, 0.95, 0),
    "Temperature": (37, 0.5, 0.3, 1),
    "pH": (7.38, 0.05, 0.12, 2),
}
"""Level, spread, how often it is measured in an hour, decimals."""
_COLUMNS: Final = (
    "Hours", "Capillary refill rate", "Diastolic blood pressure", "Fraction inspired oxygen",
    "Glascow coma scale eye opening", "Glascow coma scale motor response", "Glascow coma scale total",
    "Glascow coma scale verbal response", "Glucose", "Heart Rate", "Height", "Mean blood pressure",
    "Oxygen saturation", "Respiratory rate", "Systolic blood pressure", "Temperature", "Weight", "pH",
)  # fmt: skip
_STAY: Final = (
    "SUBJECT_ID", "HADM_ID", "ICUSTAY_ID", "LAST_CAREUNIT", "DBSOURCE", "INTIME", "OUTTIME", "LOS", "ADMITTIME",
    "DISCHTIME", "DEATHTIME", "ETHNICITY", "DIAGNOSIS", "GENDER", "DOB", "DOD", "AGE", "MORTALITY",
    "MORTALITY_INHOSPITAL", "MORTALITY_INUNIT",
)  # fmt: skip
_HIGHEST: Final = {"Oxygen saturation": 100.0, "Fraction inspired oxygen": 1.0}


def generated_folder() -> Path:
    """The folder with the stays, in the user's cache folder; written at the first call.

    Raises:
        UserError: it cannot be written.
    """
    target = cache_folder() / f"icu-generated-{_VERSION}"
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
        try:
            _write(made)
            made.chmod(0o755)
            _move(made, target)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror}; set THREAD_CACHE to another folder") from None
    return target


def _move(made: Path, target: Path) -> None:
    try:
        made.rename(target)
    except OSError:
        # Another process was faster.
        if not target.is_dir():
            raise


def _write(folder: Path) -> None:
    rng = random.Random("dataqa/icu")
    series = folder / "in-hospital-mortality" / "all"
    series.mkdir(parents=True)
    stays: list[Mapping[str, Any]] = []
    labels: list[Mapping[str, Any]] = []
    for patient in _PATIENTS:
        died = rng.random() < 0.3
        labels.append({phenotype: int(rng.random() < 0.25) for phenotype in PHENOTYPES})
        stays.append(_stay(rng, patient, died))
        _table(series / f"{patient}_episode1_timeseries.csv", _COLUMNS, _hours(rng, died))
    _table(folder / "all_stays.csv", _STAY, stays)
    _table(folder / "phenotype_labels.csv", PHENOTYPES, labels)
    listed = [{"stay": f"{stay['SUBJECT_ID']}_episode1_timeseries.csv", "y_true": stay["MORTALITY"]} for stay in stays]
    for part, rows in (("train", listed[10:]), ("test", listed[:10])):
        (folder / "in-hospital-mortality" / part).mkdir()
        _table(folder / "in-hospital-mortality" / part / "listfile.csv", ("stay", "y_true"), rows)


def _stay(rng: random.Random, patient: int, died: bool) -> dict[str, Any]:
    return {
        "SUBJECT_ID": patient,
        "HADM_ID": patient + 100_000,
        "ICUSTAY_ID": patient + 200_000,
        "LAST_CAREUNIT": "MICU",
        "DBSOURCE": "generated",
        "LOS": round(rng.uniform(2, 12), 4),
        "GENDER": rng.choice("FM"),
        "AGE": rng.randint(19, 89),
        **dict.fromkeys(("MORTALITY", "MORTALITY_INHOSPITAL", "MORTALITY_INUNIT"), int(died)),
    }


def _hours(rng: random.Random, died: bool) -> list[dict[str, Any]]:
    """One row an hour: each variable wanders around a level of the patient's own."""
    rows: list[dict[str, Any]] = [{"Hours": float(hour)} for hour in range(_HOURS)]
    for column, (level, spread, often, decimals) in _MEASURED.items():
        value = base = rng.gauss(level, spread) + (spread / 2 if died else 0)
        drift = rng.uniform(-0.04, 0.04) * spread
        for row in rows:
            value += drift + 0.15 * (base - value) + rng.gauss(0, 0.35 * spread)
            if rng.random() < often:
                row[column] = round(min(max(value, 0.0), _HIGHEST.get(column, value)), decimals)
    return rows


def _table(file: Path, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
