"""A mimic3-benchmarks folder: who stayed, with what diagnoses, and what was measured in which hour.

    all_stays.csv                        one line a stay; MORTALITY_INHOSPITAL is 0 or 1
    phenotype_labels.csv                 25 columns of 0 and 1, in the order of all_stays.csv
    in-hospital-mortality/all/           PATIENT_episode1_timeseries.csv, the first 48 hours

mimic3-benchmarks itself writes the series to `train` and `test` beside `all`; they are looked for there too. As in the
published runners, a patient is the first episode of that patient.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import math
from math import fsum
from typing import TYPE_CHECKING, Final

from thread_cli.contracts.errors import UserError
from thread_cli.distribution import cache_folder
from thread_envs.dataqa.keeping import kept

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["PHENOTYPES", "VARIABLES", "Stays", "column_of"]

VARIABLES: Final = {
    "Capillary refill rate": "capillary refill rate",
    "Diastolic blood pressure": "diastolic blood pressure",
    "Fraction inspired oxygen": "fraction of inspired oxygen",
    "Glucose": "glucose",
    "Heart Rate": "heart rate",
    "Mean blood pressure": "mean blood pressure",
    "Oxygen saturation": "oxygen saturation",
    "Respiratory rate": "respiratory rate",
    "Systolic blood pressure": "systolic blood pressure",
    "Temperature": "temperature",
    "Weight": "weight",
    "pH": "pH",
}
"""Columns of the series that are asked about, in words; in the demo data capillary refill is empty."""

PHENOTYPES: Final = {
    "Acute and unspecified renal failure": "acute renal failure",
    "Acute cerebrovascular disease": "acute cerebrovascular disease",
    "Acute myocardial infarction": "acute myocardial infarction",
    "Cardiac dysrhythmias": "cardiac dysrhythmias",
    "Chronic kidney disease": "chronic kidney disease",
    "Chronic obstructive pulmonary disease and bronchiectasis": "chronic obstructive pulmonary disease",
    "Complications of surgical procedures or medical care": "surgical complications",
    "Conduction disorders": "conduction disorders",
    "Congestive heart failure; nonhypertensive": "congestive heart failure",
    "Coronary atherosclerosis and other heart disease": "coronary atherosclerosis",
    "Diabetes mellitus with complications": "diabetes with complications",
    "Diabetes mellitus without complication": "diabetes without complication",
    "Disorders of lipid metabolism": "disorders of lipid metabolism",
    "Essential hypertension": "essential hypertension",
    "Fluid and electrolyte disorders": "fluid and electrolyte disorders",
    "Gastrointestinal hemorrhage": "gastrointestinal hemorrhage",
    "Hypertension with complications and secondary hypertension": "hypertension with complications",
    "Other liver diseases": "other liver diseases",
    "Other lower respiratory disease": "other lower respiratory disease",
    "Other upper respiratory disease": "other upper respiratory disease",
    "Pleurisy; pneumothorax; pulmonary collapse": "pulmonary collapse",
    "Pneumonia (except that caused by tuberculosis or sexually transmitted disease)": "pneumonia",
    "Respiratory failure; insufficiency; arrest (adult)": "respiratory failure",
    "Septicemia (except in labor)": "septicemia",
    "Shock": "shock",
}
"""Columns of the phenotypes, in words."""

_ENDING: Final = "_episode1_timeseries.csv"
_LEAST_VALUES: Final = 3
_MANY: Final = 1000


class Stays:
    """The stays under a folder; files of series are read when they are needed.

    Raises:
        UserError: the folder is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stays = _rows(folder / "all_stays.csv", {"SUBJECT_ID", "MORTALITY_INHOSPITAL"})
        self._labels = _rows(folder / "phenotype_labels.csv", set())
        if len(self._stays) != len(self._labels):
            sizes = f"{len(self._stays)} and {len(self._labels)}"
            raise UserError(f"{folder}: all_stays.csv and phenotype_labels.csv differ in length, {sizes}")
        series = folder / "in-hospital-mortality"
        self._files = {
            file.name.removesuffix(_ENDING): file
            for part in ("test", "train", "all")
            for file in sorted((series / part).glob(f"*{_ENDING}"))
            if file.name.removesuffix(_ENDING).isdecimal()
        }
        if not self._files:
            raise UserError(f"{series} holds no series: expected all/10006{_ENDING} and others, named by patient")
        self.patients = sorted(self._files, key=lambda patient: (len(patient), patient))
        self._series: dict[str, Mapping[str, dict[float, float]]] = {}

    def series(self, patient: str, column: str) -> dict[float, float]:
        """Values by hour; none where an hour occurs twice."""
        if patient not in self._series:
            self._series[patient] = _series(self._files[patient])
        return self._series[patient].get(column, {})

    def died(self, died: bool) -> list[str]:
        """Patients with a stay that ended with their death in hospital, or with one that did not."""
        return self._known(row["SUBJECT_ID"] for row in self._stays if row["MORTALITY_INHOSPITAL"] == str(int(died)))

    def diagnosed(self, phenotype: str) -> list[str]:
        """Patients with a stay that has the phenotype of that column."""
        pairs = zip(self._stays, self._labels, strict=True)
        return self._known(row["SUBJECT_ID"] for row, labels in pairs if labels.get(phenotype) == "1")

    def averages(self, patients: Iterable[str], column: str) -> dict[str, float]:
        """Each patient's average, of the patients with more than two values (as the published runners count)."""
        sums = ((patient, *self._sums.get(patient, {}).get(column, (0, 0.0))) for patient in patients)
        return {patient: total / count for patient, count, total in sums if count >= _LEAST_VALUES}

    def pooled(self, patients: Iterable[str], column: str) -> float:
        """The average of all values of these patients taken together."""
        counts, totals = zip(*(self._sums[patient].get(column, (0, 0.0)) for patient in patients), strict=True)
        return sum(totals) / sum(counts)

    @functools.cached_property
    def _sums(self) -> Mapping[str, Mapping[str, tuple[int, float]]]:
        """By patient and column, how many values there are and their sum.

        The whole of MIMIC-III has 18,000 patients, which take minutes to read, so their sums are kept on disk.
        """
        if len(self.patients) < _MANY:
            return self._summed()
        changed = max(file.parent.stat().st_mtime_ns for file in self._files.values())
        name = hashlib.sha256(f"{self.folder.resolve()} {len(self._files)} {changed}".encode()).hexdigest()
        return kept(cache_folder() / "icu" / f"{name}.json", self._summed)

    def _summed(self) -> Mapping[str, Mapping[str, tuple[int, float]]]:
        every = ((patient, _series(file)) for patient, file in self._files.items())
        return {
            patient: {column: (len(series), fsum(series.values())) for column, series in columns.items()}
            for patient, columns in every
        }

    def _known(self, patients: Iterable[str]) -> list[str]:
        found = set(patients)
        return [patient for patient in self.patients if patient in found]


def column_of(words: str) -> str | None:
    """The column of a variable, by its name or in words; None where there is none."""
    named = {name.casefold(): column for column, text in VARIABLES.items() for name in (column, text)}
    return named.get(words.casefold().strip())


def _rows(file: Path, columns: set[str]) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            named, rows = set(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"{file} cannot be read ({reason}): `data` names a mimic3-benchmarks folder") from None
    if missing := columns - named:
        raise UserError(f"{file} has no column {min(missing)}")
    return rows


def _series(file: Path) -> Mapping[str, dict[float, float]]:
    rows = _rows(file, {"Hours"})
    try:
        hours = [float(row["Hours"]) for row in rows]
    except (TypeError, ValueError):
        raise UserError(f"{file} has an hour that is no number") from None
    if not rows or len(set(hours)) < len(hours):
        return {}
    found: dict[str, dict[float, float]] = {}
    for column in VARIABLES.keys() & rows[0].keys():
        try:
            values = {hour: float(row[column]) for hour, row in zip(hours, rows, strict=True) if row[column]}
        except ValueError:
            continue
        found[column] = {hour: values[hour] for hour in sorted(values) if math.isfinite(values[hour])}
    return found
