"""Going on with a run: only as what it was begun with, alone, and with nothing lost."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.foundation.locks import locked
from mednext_cli.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from mednext_cli.training import train as train_module
from mednext_cli.training.recipe_files import load_recipe
from tests.preprocessing.synthetic import NAME, image_of, label_of, make_raw, read, run, write

Capture = pytest.CaptureFixture[str]
_TINY = (
    "model.base_channels=2",
    "training.epochs=2",
    "training.iterations_per_epoch=1",
    "training.validation_iterations=1",
    "training.patch_voxels=[16, 16, 32]",
    "training.folds=2",
    "inference.overlap=0.0",
    "inference.mirror=false",
)


@dataclass(frozen=True)
class Place:
    """A folder with ``raw/``, ``cache/`` and the runs of a test."""

    folder: Path

    @property
    def raw(self) -> Path:
        return self.folder / NAME

    @property
    def run(self) -> Path:
        return self.folder / "runs" / NAME / "S-k3-w2" / "fold0"

    def train(self, *options: str, settings: tuple[str, ...] = (), fold: str = "0") -> int:
        changes = [part for setting in (*_TINY, *settings) for part in ("--set", setting)]
        folders = ["--cache", str(self.folder / "cache"), "--runs", str(self.folder / "runs")]
        words = ["--recipe", "cpu", "--device", "cpu", "--fold", fold]
        return main(["train", NAME, *folders, *words, *changes, *options])

    def preprocess(self) -> int:
        return run(self.raw, "--quiet", "--force")  # the raw folder is a copy

    def last(self) -> Checkpoint:
        return load_checkpoint(self.run / "checkpoint_last.pt")

    def side(self, name: str) -> str:
        """The first case of a side of the split: "training" or "validation"."""
        return str(self.last().metadata["origin"][f"{name}_cases"][0])

    def unfinish(self) -> None:
        """Make the run one that was begun with three epochs."""
        last = self.last()
        assert last.recipe is not None
        training = {**last.recipe["training"], "epochs": 3}
        progress = {**last.progress, "finished": False}
        changed = replace(last, recipe={**last.recipe, "training": training}, progress=progress)
        save_checkpoint(self.run / "checkpoint_last.pt", changed)


@pytest.fixture(autouse=True, scope="module")
def _without_validation() -> Iterator[None]:
    """What comes of the weights at the end is slow, and not of interest here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "validate_fold", lambda *_: {})
        yield


def _copy(source: Path, target: Path) -> Place:
    shutil.copytree(source, target, dirs_exist_ok=True)
    return Place(target)


@pytest.fixture(scope="module")
def _prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = Place(tmp_path_factory.mktemp("prepared"))
    make_raw(place.folder, 4)
    assert place.preprocess() == 0
    return place.folder


@pytest.fixture(scope="module")
def _finished(
    _prepared: Path, _without_validation: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    place = _copy(_prepared, tmp_path_factory.mktemp("finished"))
    assert place.train() == 0
    return place.folder


@pytest.fixture
def fresh(_prepared: Path, tmp_path: Path) -> Place:
    return _copy(_prepared, tmp_path)


@pytest.fixture
def finished(_finished: Path, tmp_path: Path) -> Place:
    return _copy(_finished, tmp_path)


def _refusal(capsys: Capture) -> str:
    """The one line on stderr, after notes."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, lines
    return lines[0]


def _epochs(place: Place) -> list[str]:
    with (place.run / "log.csv").open(newline="") as stream:
        return [row["epoch"] for row in csv.DictReader(stream)]


def test_what_changes_no_result_may_be_said_otherwise(finished: Place) -> None:
    before = (finished.run / "checkpoint_last.pt").read_bytes()
    recipe = (finished.run / "recipe.toml").read_text()
    words = ["--kernels", "stock", "--model", "s", "--kernel", "3"]
    settings = ("model.checkpointing=true", "training.precision=float32", "training.epsilon=1e-8")
    assert finished.train(*words, settings=settings) == 0
    assert (finished.run / "checkpoint_last.pt").read_bytes() == before
    assert (finished.run / "recipe.toml").read_text() == recipe


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("training.learning_rate=0.5", "training.learning_rate: 0.003 -> 0.5"),
        ("training.precision=bfloat16", "training.precision: float32 -> bfloat16"),
        ("training.folds=3", "training.folds: 2 -> 3"),
        ("training.epsilon=1e-4", "training.epsilon: 1e-08 -> 0.0001"),
        ("training.batch_size=2", "another plan (batch_size: 1 -> 2)"),
        ("training.patch_voxels=[16, 32, 32]", "another plan (patch_voxels: [16, 16, 32] ->"),
    ],
)
def test_what_changes_results_is_refused(
    finished: Place, capsys: Capture, setting: str, expected: str
) -> None:
    before = (finished.run / "checkpoint_last.pt").read_bytes()
    assert finished.train(settings=(setting,)) == 2
    line = _refusal(capsys)
    assert expected in line
    assert "--restart" in line
    assert (finished.run / "checkpoint_last.pt").read_bytes() == before


def test_other_epochs_are_asked_for_and_told(finished: Place, capsys: Capture) -> None:
    more = ("training.epochs=3",)
    assert finished.train(settings=more) == 2
    line = _refusal(capsys)
    assert "begun with 2 epochs, of which 2 are done" in line
    assert "takes the learning rate from 0.00161 to 0.00112" in line
    assert "--extend" in line
    assert load_recipe(str(finished.run / "recipe.toml")).training.epochs == 2
    assert finished.train("--extend", settings=more) == 0
    assert _epochs(finished) == ["1", "2", "3"]
    text = (finished.run / "recipe.toml").read_text()
    assert "# training.epochs was 2 until iteration 2\n" in text
    assert load_recipe(str(finished.run / "recipe.toml")).training.epochs == 3
    assert finished.train(settings=more) == 0  # --extend is said once
    assert "was 2 until iteration 2" in (finished.run / "recipe.toml").read_text()
    capsys.readouterr()
    assert finished.train("--extend") == 2
    assert "of which 3 are done: it cannot end after 2" in _refusal(capsys)


def test_an_extension_that_fails_at_once_is_told_all_the_same(
    finished: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("made to fail")

    monkeypatch.setattr(train_module, "run_epochs", fail)
    assert finished.train("--extend", settings=("training.epochs=3",)) == 1
    last = finished.last()
    assert last.recipe is not None
    assert last.recipe["training"]["epochs"] == 3
    assert not last.progress["finished"]
    recipe = load_recipe(str(finished.run / "recipe.toml"))
    assert recipe.model_dump(mode="json") == last.recipe


def test_changes_on_the_way_are_noted_in_the_recipe(finished: Place) -> None:
    finished.unfinish()
    assert finished.train("--kernels", "stock", settings=("training.epochs=3",)) == 0
    text = (finished.run / "recipe.toml").read_text()
    assert "# model.kernels was 'auto' until iteration 2\n" in text
    assert load_recipe(str(finished.run / "recipe.toml")).model.kernels == "stock"


def test_a_recipe_edited_by_hand_is_put_right(finished: Place) -> None:
    path = finished.run / "recipe.toml"
    text = path.read_text()
    path.write_text(text.replace("epochs = 2", "epochs = 99"))
    assert finished.train() == 0
    assert path.read_text() == text


def test_init_is_taken_in_once(fresh: Place, finished: Place, capsys: Capture) -> None:
    source = finished.folder / "init.pt"
    shutil.copy(finished.run / "checkpoint_best.pt", source)
    shutil.rmtree(finished.run)
    assert fresh.train("--init", str(source)) == 0
    digest = fresh.last().metadata["origin"]["init"]
    assert (
        f"# started from the checkpoint with SHA-256 {digest}\n"
        in (fresh.run / "recipe.toml").read_text()
    )
    moved = source.rename(fresh.folder / "moved.pt")
    for options in ([], ["--init", str(moved)], ["--init", str(source)]):
        assert fresh.train(*options) == 0
        assert fresh.last().metadata["origin"]["init"] == digest
    capsys.readouterr()
    assert fresh.train("--init", str(fresh.run / "checkpoint_last.pt")) == 2
    assert "another --init checkpoint" in (line := _refusal(capsys))
    assert "Leave --init out" in line


@pytest.mark.parametrize("init", ["checkpoint_best.pt", "nowhere.pt"])
def test_a_run_begun_without_init_takes_none(finished: Place, capsys: Capture, init: str) -> None:
    assert finished.train("--init", str(finished.run / init)) == 2
    assert "another --init checkpoint" in _refusal(capsys)


def _change_label(place: Place, case_id: str) -> None:
    path = label_of(place.raw, case_id)
    label = np.array(read(path))
    label[0, 0, 0] = 1
    write(path, label)
    assert place.preprocess() == 0


def test_a_changed_training_case_is_refused(finished: Place, capsys: Capture) -> None:
    case_id = finished.side("training")
    _change_label(finished, case_id)
    assert finished.train() == 2
    assert f"images or labels of {case_id} are others" in _refusal(capsys)


def test_a_changed_validation_case_is_told_when_training_is_over(
    finished: Place, capsys: Capture
) -> None:
    case_id = finished.side("validation")
    _change_label(finished, case_id)
    assert finished.train() == 0
    assert f"warning: the images or labels of {case_id} are others" in capsys.readouterr().err
    finished.unfinish()
    assert finished.train(settings=("training.epochs=3",)) == 2
    assert f"images or labels of {case_id} are others" in _refusal(capsys)


def test_the_same_cases_prepared_anew_go_on(finished: Place, capsys: Capture) -> None:
    shutil.rmtree(finished.folder / "cache")
    assert finished.preprocess() == 0
    finished.unfinish()
    assert finished.train(settings=("training.epochs=3",)) == 0
    assert "are others" not in capsys.readouterr().err


def test_another_split_is_refused_with_what_differs(finished: Place, capsys: Capture) -> None:
    splits = finished.folder / "cache" / NAME / "splits.json"
    origin = finished.last().metadata["origin"]
    swapped = {"train": origin["validation_cases"], "val": origin["training_cases"]}
    splits.write_text(json.dumps([swapped]))
    assert finished.train() == 2
    assert "case_0, case_1, case_2 and 1 more on the other side" in _refusal(capsys)
    splits.unlink()
    for path in (image_of, label_of):
        shutil.copy(path(finished.raw, "case_0"), path(finished.raw, "case_9"))
    description = json.loads((finished.raw / "dataset.json").read_text())
    files = {"image": "imagesTr/case_9.nii.gz", "label": "labelsTr/case_9.nii.gz"}
    description["training"].append(files)
    (finished.raw / "dataset.json").write_text(json.dumps(description))
    assert finished.preprocess() == 0
    assert finished.train() == 2
    assert "begun with another split (case_9 new" in _refusal(capsys)


@pytest.mark.parametrize("kept", [0, 3000])
def test_a_damaged_checkpoint_names_the_ways_out(
    finished: Place, capsys: Capture, kept: int
) -> None:
    last, best = finished.run / "checkpoint_last.pt", finished.run / "checkpoint_best.pt"
    last.write_bytes(last.read_bytes()[:kept])
    assert finished.train() == 2
    line = _refusal(capsys)
    assert str(last) in line
    assert f"cp {best} {last}" in line
    assert "--restart" in line
    shutil.copy(best, last)
    assert finished.train() == 0
    last.write_bytes(b"")
    best.write_bytes(b"")
    capsys.readouterr()
    assert finished.train() == 2
    assert "cp " not in _refusal(capsys)
    assert finished.train("--restart") == 0


@pytest.mark.parametrize(
    "progress",
    [{"iteration": -1}, {"iteration": 10**9}, {"history": "text"}, {"seconds": None}],
)
def test_progress_that_cannot_be_is_damage(
    finished: Place, capsys: Capture, progress: dict[str, object]
) -> None:
    last = finished.last()
    changed = replace(last, progress={**last.progress, **progress})
    save_checkpoint(finished.run / "checkpoint_last.pt", changed)
    assert finished.train() == 2
    assert "checkpoint_last.pt" in _refusal(capsys)


def test_without_the_last_checkpoint_the_best_is_kept_aside(
    finished: Place, capsys: Capture
) -> None:
    best = (finished.run / "checkpoint_best.pt").read_bytes()
    (finished.run / "checkpoint_last.pt").unlink()
    assert finished.train(settings=("training.learning_rate=0.01",)) == 0
    assert "checkpoint_last.pt is gone: training begins anew" in capsys.readouterr().err
    assert (finished.run / "checkpoint_best_earlier.pt").read_bytes() == best
    assert finished.last().progress["iteration"] == 2


def test_a_run_that_is_being_trained_is_left_alone(finished: Place, capsys: Capture) -> None:
    before = sorted(path.name for path in finished.run.iterdir())
    with locked(finished.run):
        assert finished.train("--restart") == 2
        line = _refusal(capsys)
    assert f"another run works in {finished.run} (process " in line
    assert sorted({*before, ".lock"}) == sorted(path.name for path in finished.run.iterdir())
    assert finished.train() == 0


def test_half_written_files_of_killed_runs_go(finished: Place) -> None:
    (finished.run / "validation").mkdir(exist_ok=True)
    left = [".1-0123ab-0123ab.checkpoint_last.pt", "validation/.1-0123ab-0123ab.case_0.nii.gz"]
    for name in left:
        (finished.run / name).touch()
    assert finished.train() == 0
    assert not any((finished.run / name).exists() for name in left)


def test_under_torchrun_training_is_refused(
    fresh: Place, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0")):
        monkeypatch.setenv(name, value)
    assert fresh.train() == 2
    assert "one of 2 processes" in _refusal(capsys)
    assert not (fresh.folder / "runs").exists()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert fresh.train() == 0


def _rename_dataset(place: Place, name: str) -> None:
    path = place.folder / "cache" / NAME / "dataset.json"
    content = json.loads(path.read_text())
    content["plan"]["dataset"] = name
    path.write_text(json.dumps(content))


def _rename_case(place: Place, name: str) -> None:
    path = place.folder / "cache" / NAME / "dataset.json"
    content = json.loads(path.read_text())
    content["cases"][name] = content["cases"].pop("case_0")
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("rename", [_rename_dataset, _rename_case])
@pytest.mark.parametrize("name", ["../../out", "/tmp/out", "..", "", "a\\b", "a\x1b[2J", "x" * 252])
def test_names_that_lead_elsewhere_are_refused(
    fresh: Place, capsys: Capture, rename: Callable[[Place, str], None], name: str
) -> None:
    rename(fresh, name)
    assert fresh.train() == 2
    assert "dataset.json" in (line := _refusal(capsys))
    assert "\x1b" not in line
    assert not (fresh.folder / "runs").exists()
    assert not (fresh.folder.parent / "out").exists()


def test_a_file_where_runs_belong_is_one_line(fresh: Place, capsys: Capture) -> None:
    (fresh.folder / "runs").touch()
    assert fresh.train() == 2
    assert "runs" in _refusal(capsys)


@pytest.mark.parametrize("fold", ["7", "-1", "\u00b2", "\u0663", "1.0", "", "9" * 5000])
def test_wrong_folds_are_one_line(fresh: Place, capsys: Capture, fold: str) -> None:
    assert fresh.train(fold=fold) == 2
    assert "fold" in _refusal(capsys)
    assert not (fresh.folder / "runs").exists()


def test_a_fold_has_one_folder_however_it_is_written(finished: Place) -> None:
    assert finished.train(fold="00") == 0
    assert [path.name for path in finished.run.parent.iterdir()] == ["fold0"]
