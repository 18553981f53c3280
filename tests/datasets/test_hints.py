"""A folder of another layout: the refusal says what to type instead."""

from pathlib import Path

import pytest

from mednext_cli.app import main
from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation import plugins
from mednext_cli.foundation.errors import DatasetError
from tests.datasets.conftest import write_description, write_label, write_scan

Captured = pytest.CaptureFixture[str]


def said(raw: Path, layout: str) -> str:
    with pytest.raises(DatasetError) as caught:
        read_dataset(raw, layout)
    return str(caught.value)


def test_the_folder_around_and_the_folder_inside(msd: Path) -> None:
    assert f"{msd} looks like --dataset msd: give that folder" in said(msd.parent, "msd")
    assert f"{msd} looks like --dataset msd: give that folder" in said(msd / "imagesTr", "msd")


def test_a_folder_of_no_layout_says_what_it_holds(tmp_path: Path) -> None:
    text = said(tmp_path, "msd")
    assert f"No layout fits: {tmp_path} holds no scans and no folders" in text
    assert "nearest" not in text
    for name in "abcd":
        write_scan(tmp_path / f"{name}.nii.gz")
    text = said(tmp_path, "kits19")
    assert "holds 4 scans (a.nii.gz, b.nii.gz, c.nii.gz, ...)" in text
    assert "The nearest is --dataset folder: Two folders: images/CASE.nii.gz" in text


def test_scans_in_folders_of_other_names(tmp_path: Path) -> None:
    write_scan(tmp_path / "pictures" / "a.nii.gz")
    write_label(tmp_path / "masks" / "a.nii.gz")
    text = said(tmp_path, "folder")
    assert "2 folders (masks, pictures)" in text
    assert "--dataset folder" in text
    write_description(tmp_path, labels={"background": 0, "x": 1})
    assert "The nearest is --dataset nnunet" in said(tmp_path, "kits19")


def test_a_mistake_in_the_right_layout_keeps_its_remedy(msd: Path) -> None:
    write_description(msd, labels={"0": "background", "1": "x"}, training=[])
    assert said(msd, "msd").endswith("has no key 'modality'. Add the key.")


def test_a_plugin_that_fails_while_guessing_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    class Broken:
        description = "breaks"

        def recognises(self, raw: Path) -> bool:
            raise ZeroDivisionError(str(raw))

        def read(self, raw: Path) -> None:
            raise AssertionError

    real = plugins.Plugin.load
    monkeypatch.setattr(
        plugins.Plugin, "load", lambda self: Broken() if self.name == "btcv" else real(self)
    )
    write_scan(tmp_path / "case_00000" / "imaging.nii.gz")
    call = ["datasets", "verify", str(tmp_path), "--dataset", "msd", "--workers", "0"]
    assert main(call) == 2
    assert "looks like --dataset kits19" in capsys.readouterr().err
