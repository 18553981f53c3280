"""Names for `--model`: ours, the user's, packages'; and paths, which win."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mednext_cli.app import main
from mednext_cli.foundation.errors import CheckpointError, PluginError
from mednext_cli.foundation.plugins import find_plugins
from mednext_cli.inference.catalogue.add import AddModelSpec, add_model
from mednext_cli.inference.catalogue.listing import list_models
from mednext_cli.inference.catalogue.names import find_model, model_names, resolve_models
from mednext_cli.settings.model_card import CARD_NAME
from tests.contracts.conftest import PACKAGE
from tests.inference.synthetic import predict

BUNDLED = PACKAGE / "models" / "hippocampus"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> Iterator[Path]:
    """A stranger's package that brings a model, one without files, and one of our name."""
    site = tmp_path / "site"
    folder = site / "their_model"
    add_model(AddModelSpec(checkpoint, "made"))
    card = find_model("made").folder / CARD_NAME
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / CARD_NAME).write_bytes(card.read_bytes())
    (folder / "checkpoint_last.pt").write_bytes(checkpoint.read_bytes())
    (site / "their_number.py").write_text("NUMBER = 7\n")
    about = site / "their_models-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their-models\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[mednext.models]\nkidney = their_model\nnumber = their_number:NUMBER\n"
        "gone = their_absence\nhippocampus = their_model\n"
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    find_plugins.cache_clear()
    yield folder
    find_plugins.cache_clear()


def test_packages_bring_models(package: Path) -> None:
    assert resolve_models([Path("kidney"), Path("hippocampus")]) == (package, BUNDLED)
    listing = list_models()
    assert [(row["model"], row["source"]) for row in listing.rows][::2] == [
        ("hippocampus", "mednext"),
        ("kidney", "their-models"),
    ]
    said = "\n".join(listing.passed_over)
    assert "hippocampus of their-models: the name hippocampus is taken by mednext" in said
    assert "number is passed over" in said
    assert "gone is passed over: ModuleNotFoundError" in said
    assert len(listing.passed_over) == 3


def test_packages_without_a_folder_are_refused(package: Path) -> None:
    with pytest.raises(PluginError, match=r"number .* is no folder"):
        find_model("number")
    with pytest.raises(PluginError, match=r"gone .* does not load"):
        find_model("gone")


def test_the_users_model_goes_before_a_strangers(
    data_home: Path, checkpoint: Path, request: pytest.FixtureRequest
) -> None:
    own = add_model(AddModelSpec(checkpoint, "kidney")).folder
    request.getfixturevalue("package")
    assert resolve_models([Path("kidney")]) == (own,)
    assert model_names().count("kidney") == 1


def test_an_unknown_name_gives_the_known_ones(
    tmp_path: Path, scans: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(scans, tmp_path / "out", Path("hippocampos")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "hippocampos does not exist, and no model is called that" in line
    assert "Did you mean hippocampus? Known: hippocampus" in line
    assert not (tmp_path / "out").exists()
    assert main(["models", "show", "liver"]) == 2
    assert "Known: hippocampus" in capsys.readouterr().err


def test_a_path_wins_over_a_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    checkpoint: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hippocampus").write_bytes(checkpoint.read_bytes())
    assert resolve_models([Path("hippocampus")]) == (Path("hippocampus"),)
    assert "hippocampus is the path here, not the model" in caplog.text


@pytest.mark.parametrize("given", ["runs/hippocampus", "../hippocampus", "/hippocampus"])
def test_paths_are_no_names(given: str) -> None:
    assert resolve_models([Path(given)]) == (Path(given),)


def test_names_too_long_for_a_file_are_unknown() -> None:
    with pytest.raises(CheckpointError, match="no model is called that"):
        resolve_models([Path("x" * 5000)])
