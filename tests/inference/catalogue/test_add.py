"""The user's own models: added whole or not at all, and removed."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mednext_cli.app import main
from mednext_cli.foundation.errors import CheckpointError, MednextError, SettingsError, StorageError
from mednext_cli.foundation.files import write_json
from mednext_cli.inference.catalogue import add as adding
from mednext_cli.inference.catalogue.add import AddModelSpec, add_model, remove_model
from mednext_cli.inference.catalogue.listing import list_models, show_model
from mednext_cli.inference.catalogue.names import find_model
from mednext_cli.inference.catalogue.own import own_names
from mednext_cli.inference.models import load_models
from mednext_cli.networks.checkpoint import load_checkpoint, save_checkpoint
from mednext_cli.settings.model_card import CARD_NAME, read_card
from tests.inference.synthetic import predict


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_an_added_model_predicts_by_its_name(
    checkpoint: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "add", str(checkpoint), "--name", "kidney"]) == 0
    assert "kidney: " in capsys.readouterr().out
    for name, model in (("named", Path("kidney")), ("given", checkpoint)):
        assert predict(scans, tmp_path / name, model, options=("--workers", "0")) == 0
    maps = sorted((tmp_path / "named").glob("*.nii.gz"))
    assert len(maps) == 3
    assert all(_same(one, tmp_path / "given" / one.name) for one in maps)


def test_folds_and_their_postprocessing_are_copied(
    checkpoint: Path, other: Path, tmp_path: Path
) -> None:
    run = tmp_path / "S-k3"
    for fold, source in (("fold0", checkpoint), ("fold1", other), ("fold2", other)):
        (run / fold).mkdir(parents=True)
        shutil.copy(source, run / fold / "checkpoint_last.pt")
        (run / fold / "log.csv").write_text("not needed")
    labels = {"kidney": 1, "tumour": 4}
    write_json(run / "postprocessing.json", {"labels": labels, "steps": []})
    folder = add_model(AddModelSpec(run, "kidney")).folder
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == [
        "card.toml",
        *(f"fold{fold}/checkpoint_last.pt" for fold in range(3)),
        "postprocessing.json",
    ]
    assert len(load_models([folder])) == 3
    write_json(run / "postprocessing.json", {"labels": {"liver": 1}, "steps": []})
    with pytest.raises(SettingsError, match="fitted for other labels"):
        add_model(AddModelSpec(run, "other"))
    assert own_names() == ["kidney"]


def test_an_exported_checkpoint_is_taken(checkpoint: Path, tmp_path: Path) -> None:
    call = ["export", str(checkpoint), "--to", "safetensors", "--out", str(tmp_path)]
    assert main(call) == 0
    (exported,) = tmp_path.glob("*.safetensors")
    (given,) = load_models([checkpoint])
    (added,) = load_models([add_model(AddModelSpec(exported, "kidney")).folder])
    weights = added.checkpoint.state_dict
    assert all(weights[name].equal(one) for name, one in given.checkpoint.state_dict.items())


def test_a_card_is_made_of_what_the_checkpoint_says(checkpoint: Path) -> None:
    added = add_model(AddModelSpec(checkpoint, "kidney"))
    card = read_card(added.folder / CARD_NAME)
    assert added.card_made
    assert (card.spacing_mm, card.channels) == ((2.0, 2.0, 2.0), ("MRI",))
    assert card.classes == {"kidney": 1, "tumour": 4}
    assert (card.licence, card.intended_use, card.held_out_dice) == ("not stated",) * 2 + (None,)
    facts = {row["what"]: row["value"] for row in show_model("kidney")}
    assert facts["folder"] == str(added.folder)
    assert facts["training.network"] == "S-k3-w4"


def test_a_card_that_is_given_is_taken_or_refused(checkpoint: Path, tmp_path: Path) -> None:
    made = add_model(AddModelSpec(checkpoint, "one")).folder / CARD_NAME
    text = made.read_text()
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace("Trained on test", "Kidneys on CT"))
    added = add_model(AddModelSpec(checkpoint, "two", card=mine))
    assert not added.card_made
    assert [row["description"] for row in list_models().rows][1:] == [
        "Trained on test",
        "Kidneys on CT",
    ]
    for before, after, why in (
        ("tumour = 4", "tumour = 3", "is not the card of these weights: its classes"),
        ("version = 1", "version = 2", "version: Input should be 1"),
        ("[classes]", "[klasses]", "classes: Field required; klasses: there is no such entry"),
        ("Trained on test", "\\u001b[31mred", "description: .* holds a control character"),
        ("[classes]", "[classes", "is not a TOML file"),
    ):
        assert before in text
        mine.write_text(text.replace(before, after))
        with pytest.raises(MednextError, match=why):
            add_model(AddModelSpec(checkpoint, "three", card=mine))
    assert own_names() == ["one", "two"]


def test_a_name_that_is_there_needs_force(checkpoint: Path, other: Path, data_home: Path) -> None:
    add_model(AddModelSpec(checkpoint, "kidney"))
    with pytest.raises(SettingsError, match=r"there is a model kidney already.* or add --force"):
        add_model(AddModelSpec(other, "kidney"))
    assert _same(find_model("kidney").folder / "checkpoint_last.pt", checkpoint)
    with pytest.raises(SettingsError, match="there is a model kidney already"):
        add_model(AddModelSpec(other, "Kidney", force=True))
    add_model(AddModelSpec(other, "kidney", force=True))
    assert _same(find_model("kidney").folder / "checkpoint_last.pt", other)
    with pytest.raises(SettingsError, match="hippocampus is that of a model of mednext"):
        add_model(AddModelSpec(other, "hippocampus", force=True))
    assert len([path for path in data_home.iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize(
    "name",
    ["../kidney", "a/b", "a\\b", "/kidney", "..", ".", "", ".kidney", "-kidney", "a b", "x.pt",
     "kidney.json", "\x1bred", "x" * 65, "a\n"],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(
    name: str, checkpoint: Path, data_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "add", str(checkpoint), f"--name={name}"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not data_home.exists()


def test_a_damaged_model_is_not_added(
    checkpoint: Path, tmp_path: Path, data_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "bad.pt").write_bytes(content)
    for path, said in ((tmp_path / "bad.pt", "damaged"), (tmp_path / "no.pt", "does not exist")):
        assert main(["models", "add", str(path), "--name", "kidney"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    assert own_names() == []
    assert not data_home.exists()


def test_a_damaged_entry_or_card_is_one_line_and_can_be_removed(
    checkpoint: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = add_model(AddModelSpec(checkpoint, "kidney")).folder
    entry = folder.parent / "kidney.json"
    good, outside = entry.read_text(), '{"folder": "../../elsewhere"}'

    def refused(said: str) -> None:
        capsys.readouterr()
        assert predict(scans, tmp_path / "out", Path("kidney")) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
        assert [row["model"] for row in list_models().rows] == ["hippocampus"]
        (passed,) = list_models().passed_over
        assert "kidney is passed over" in passed

    for text in ("{", outside, "[]", '{"folder": "kidney-00000000"}'):
        entry.write_text(text)
        refused("kidney")
    entry.write_text(good)
    (folder / CARD_NAME).write_text("version = 1\n")
    refused("is no card of a model: description: Field required; licence: Field required")
    (folder / CARD_NAME).unlink()
    with pytest.raises(SettingsError, match="does not exist"):
        show_model("kidney")
    remove_model("kidney")
    assert (own_names(), folder.exists()) == ([], False)


def test_what_is_not_there_cannot_be_removed(checkpoint: Path) -> None:
    add_model(AddModelSpec(checkpoint, "kidney"))
    with pytest.raises(SettingsError, match=r"you have no model 'kidny'\. Did you mean kidney"):
        remove_model("kidny")
    with pytest.raises(SettingsError, match="hippocampus comes with mednext"):
        remove_model("hippocampus")
    with pytest.raises(SettingsError, match="you have no model"):
        remove_model("../kidney")


def test_one_of_many_that_add_the_same_name_wins(checkpoint: Path, other: Path) -> None:
    def attempt(source: Path) -> str:
        try:
            add_model(AddModelSpec(source, "kidney"))
        except SettingsError as error:
            return error.message
        return ""

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(attempt, [checkpoint, other] * 2))
    assert said.count("") == 1
    assert all("there is a model kidney already" in text for text in said if text)
    load_models([find_model("kidney").folder])


def test_adding_and_removing_at_once_leaves_whole_models(
    checkpoint: Path, other: Path, data_home: Path
) -> None:
    def change(number: int) -> None:
        if number % 3 == 2:
            with contextlib.suppress(SettingsError):  # another has removed it
                remove_model("kidney")
        else:
            add_model(AddModelSpec((checkpoint, other)[number % 3], "kidney", force=True))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(change, range(12)))
    add_model(AddModelSpec(other, "kidney", force=True))
    assert _same(find_model("kidney").folder / "checkpoint_last.pt", other)
    left = [path.name for path in data_home.iterdir() if path.name != ".lock"]
    assert sorted(left) == sorted(["kidney.json", find_model("kidney").folder.name])


_KILLED = """
import sys, time
from pathlib import Path
from mednext_cli.inference.catalogue import add
def stop(*_):
    print("copied", flush=True)
    time.sleep(600)
add.load_models = stop
add.add_model(add.AddModelSpec(Path(sys.argv[1]), "kidney", force=True))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kills as POSIX does")
def test_a_killed_add_leaves_the_old_model_and_no_rubbish(
    checkpoint: Path, other: Path, data_home: Path
) -> None:
    add_model(AddModelSpec(checkpoint, "kidney"))
    command = [sys.executable, "-c", _KILLED, str(other)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "copied\n"
        process.send_signal(signal.SIGKILL)
    assert _same(find_model("kidney").folder / "checkpoint_last.pt", checkpoint)
    assert len([path for path in data_home.iterdir() if path.is_dir()]) == 2
    add_model(AddModelSpec(other, "second"))
    assert len([path for path in data_home.iterdir() if path.is_dir()]) == 2


def test_a_full_disk_leaves_nothing(
    checkpoint: Path, data_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adding.shutil, "copyfile", full)
    with pytest.raises(StorageError, match="no space left"):
        add_model(AddModelSpec(checkpoint, "kidney"))
    assert [path for path in data_home.iterdir() if path.name != ".lock"] == []


def test_weights_without_a_plan_are_refused(tmp_path: Path, checkpoint: Path) -> None:
    bare = tmp_path / "bare.pt"
    save_checkpoint(bare, replace(load_checkpoint(checkpoint), plan=None))
    with pytest.raises(CheckpointError, match="how its images are prepared"):
        add_model(AddModelSpec(bare, "kidney"))
    assert own_names() == []
