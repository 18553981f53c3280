"""Folds of patients, folds that share the classes out, and classes that a fold lacks."""

import json
import logging
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from pydantic import ValidationError

from mednext_cli.app import main
from mednext_cli.cache.reader import CachedDataset
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.settings.training import TrainingSettings
from mednext_cli.training.folds import choose_fold, warn_of_lacking_classes
from mednext_cli.training.splits import Split, split_cases
from tests.training.synthetic import arguments, make_cache, run_folder

NOWHERE = Path("/nonexistent/splits.json")


def _cached(classes: dict[str, tuple[int, ...]]) -> CachedDataset:
    labels = SimpleNamespace(names={"organ": 1, "lesion": 2, "vessel": 5})
    plan = SimpleNamespace(label_set=labels, class_values=(0, 1, 2, 5))
    cases = {name: SimpleNamespace(classes=found) for name, found in classes.items()}
    found = SimpleNamespace(labelled_ids=tuple(sorted(cases)), case=cases.__getitem__, plan=plan)
    return cast(CachedDataset, found)


def _folds(cached: CachedDataset, **settings: object) -> list[Split]:
    training = TrainingSettings.model_validate(settings)
    return [choose_fold(cached, str(fold), training, NOWHERE) for fold in range(training.folds)]


def _check_parts(cached: CachedDataset, splits: list[Split]) -> None:
    """Every case validates once, and trains in the other folds."""
    validated = Counter(name for split in splits for name in split.validation)
    assert validated == Counter(cached.labelled_ids)
    for split in splits:
        assert sorted((*split.training, *split.validation)) == list(cached.labelled_ids)


SCANS = {f"p{patient:02d}_{scan}": (1,) for patient in range(12) for scan in range(1 + patient % 3)}


@pytest.mark.parametrize("stratified", [False, True])
def test_scans_of_a_patient_stay_together(stratified: bool) -> None:
    cached = _cached(SCANS)
    splits = _folds(cached, group_regex="^(p[0-9]+)_", stratified=stratified, folds=4)
    _check_parts(cached, splits)
    for split in splits:
        sides = [
            {name.partition("_")[0] for name in side} for side in (split.training, split.validation)
        ]
        assert sides[0].isdisjoint(sides[1])


def test_patients_of_one_scan_have_the_published_folds() -> None:
    names = [f"case_{number:03d}" for number in range(23)]
    cached = _cached(dict.fromkeys(names, (1,)))
    published = [split_cases(names, fold) for fold in range(5)]
    assert _folds(cached) == published
    assert _folds(cached, group_regex="[0-9]+$") == published


def test_every_fold_has_its_part_of_every_class() -> None:
    """Five cases have a rare class, and the published folds leave some without."""
    lesions, vessels = (3, 4, 17, 25, 26), set(range(0, 40, 4))
    classes = {
        f"case_{number:02d}": (
            1,
            *((2,) if number in lesions else ()),
            *((3,) if number in vessels else ()),
        )
        for number in range(40)
    }
    cached = _cached(classes)
    splits = _folds(cached, stratified=True)
    _check_parts(cached, splits)
    counts = [
        Counter(one for name in split.validation for one in classes[name]) for split in splits
    ]
    assert [(found[1], found[2], found[3]) for found in counts] == [(8, 1, 2)] * 5
    at_random = [any(2 in classes[name] for name in split.validation) for split in _folds(cached)]
    assert not all(at_random)
    assert _folds(cached, stratified=True) == splits


def test_what_cannot_be_split_is_refused(tmp_path: Path) -> None:
    cached = _cached(SCANS)
    with pytest.raises(SettingsError, match="all cases are of one patient"):
        _folds(cached, group_regex="^p")
    with pytest.raises(SettingsError, match="finds no patient in p00_0"):
        _folds(cached, group_regex="^q")
    with pytest.raises(SettingsError, match="no fold 7"):
        choose_fold(cached, "7", TrainingSettings(stratified=True), NOWHERE)
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps([{"train": ["p00_0"], "val": ["p01_0"]}]))
    with pytest.raises(SettingsError, match=r"splits\.json has the folds, and the recipe's"):
        choose_fold(cached, "0", TrainingSettings(stratified=True), splits)
    with pytest.raises(ValidationError, match="is no regular expression"):
        TrainingSettings(group_regex="(")


def test_classes_that_a_fold_lacks_are_named(caplog: pytest.LogCaptureFixture) -> None:
    cached = _cached({"a": (1, 2), "b": (1,), "c": (1, 3)})
    with caplog.at_level(logging.WARNING):
        warn_of_lacking_classes(cached, Split(("a", "b"), ("c",)), "3")
    assert [record.getMessage() for record in caplog.records] == [
        "fold 3: no training case has vessel: it cannot be learnt",
        "fold 3: no validation case has lesion: its Dice is not defined",
    ]
    caplog.clear()
    warn_of_lacking_classes(cached, Split(("a", "c"), ()), "all")
    assert caplog.records == []


@pytest.mark.slow
def test_a_file_of_nnunet_gives_the_folds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, file = make_cache(tmp_path), tmp_path / "splits_final.json"
    file.write_text(json.dumps([{"train": ["box_0", "box_3"], "val": ["box_1"]}]))
    short = ("training.epochs=1", "training.iterations_per_epoch=1")
    runs = tmp_path / "runs"
    assert main(arguments(cache, runs, "--splits", str(file), settings=short)) == 0
    assert [path.name for path in (run_folder(runs) / "validation").glob("*.nii.gz")] == [
        "box_1.nii.gz"
    ]
    assert main(arguments(cache, runs, "--splits", str(tmp_path / "none.json"))) == 2
    assert "there is no such file" in capsys.readouterr().err
    assert main(arguments(cache, runs, settings=short)) == 2
    assert "was begun with another split" in capsys.readouterr().err
