"""What each network brings to an average, and which share of the cases a process does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.inference.average import Member, NetworkAverage
from mednext_cli.inference.models import load_models
from mednext_cli.inference.options import read_member_weights, read_mirror_axes
from mednext_cli.inference.torch_engine import NetworkEngine
from tests.inference.synthetic import PLAN, predict, predict_whole, save_model
from tests.inference.test_average import PATCH, Shift, make_image


def test_an_average_is_weighted_by_its_members() -> None:
    image = make_image(PATCH)
    single = [
        predict_whole(NetworkAverage((Member(Shift(one), PATCH, (), 0.5),), PLAN), image)
        for one in (-3.0, 2.0)
    ]
    members = tuple(
        Member(Shift(one), PATCH, (), 0.5, weight=weight)
        for one, weight in ((-3.0, 3.0), (2.0, 1.0))
    )
    told: list[tuple[np.ndarray, float]] = []
    networks = NetworkAverage(members, PLAN)
    made = predict_whole(networks, image, single=lambda *one: told.append((one[0].copy(), one[1])))
    np.testing.assert_allclose(made, 0.75 * single[0] + 0.25 * single[1], atol=1e-6)
    assert [share for _, share in told] == [0.75, 0.25]
    for (scores, _), expected in zip(told, single, strict=True):
        np.testing.assert_array_equal(scores, expected)


def test_folds_share_the_weight_of_their_model(tmp_path: Path) -> None:
    single = save_model(tmp_path / "one.pt", 0)
    for fold in range(3):
        folder = tmp_path / "S-k3" / f"fold{fold}"
        folder.mkdir(parents=True)
        save_model(folder / "checkpoint_last.pt", fold, finished=True)
    paths = [single, tmp_path / "S-k3"]
    assert [model.weight for model in load_models(paths)] == [1.0] * 4
    weighed = load_models(paths, weights=(2.0, 3.0))
    assert [model.weight for model in weighed] == [2.0, 1.0, 1.0, 1.0]
    with pytest.raises(SettingsError, match="1 numbers for 2"):
        load_models(paths, weights=(2.0,))


@pytest.mark.parametrize("text", ["", "1,", "0,1", "-1", "nan", "inf,1", "1e308,1e308", "much"])
def test_weights_are_numbers_above_0(text: str) -> None:
    assert read_member_weights("2, 0.5") == (2.0, 0.5)
    with pytest.raises(SettingsError, match="are no weights"):
        read_member_weights(text)


def test_mirror_axes_go_before_those_of_training(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    [loaded] = load_models([model])  # trained mirrored left to right, predicts without
    assert loaded.mirrored == ()
    assert loaded.asked(mirror_axes=["left_right"]).mirrored == (2,)
    assert not caplog.records
    asked = loaded.asked(mirror_axes=["left_right", "superior_inferior"])
    assert asked.mirrored == (0, 2)
    assert "was not trained mirrored along superior_inferior" in caplog.text
    with pytest.raises(SettingsError, match="--mirror-axes with --no-mirror"):
        loaded.asked(mirror=False, mirror_axes=["left_right"])
    assert read_mirror_axes("left_right, superior_inferior") == ("superior_inferior", "left_right")
    for text in ("left", "", "left_right,up"):
        with pytest.raises(SettingsError, match="there is no such axis"):
            read_mirror_axes(text)


def test_parts_do_all_cases_between_them(
    scans: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(_: NetworkEngine, tiles: Tensor) -> Tensor:
        return torch.zeros(len(tiles), 3, *tiles.shape[2:])

    monkeypatch.setattr(NetworkEngine, "__call__", nothing)
    out, made = tmp_path / "out", []
    for index in range(4):
        there = set(out.glob("*.nii.gz"))
        assert predict(scans, out, model, options=("--part", f"{index}/4")) == 0
        made.append(sorted(path.name for path in set(out.glob("*.nii.gz")) - there))
    expected = [["anisotropic.nii.gz"], ["oblique.nii.gz"], ["swapped.nii.gz"], []]
    assert made == expected
    assert predict(scans, out, model, options=("--part", "4/4")) == 2


def test_weights_are_part_of_what_decides(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = tmp_path / "out", save_model(tmp_path / "other.pt", 1)
    call = ("--cases", "oblique")
    assert predict(scans, out, model, other, options=(*call, "--weights", "2,1")) == 0
    settings = json.loads((out / "predict.json").read_text())["settings"]
    assert settings["weights"] == [2.0, 1.0]
    assert predict(scans, out, model, other, options=call) == 2
    assert "made with other weights" in capsys.readouterr().err
