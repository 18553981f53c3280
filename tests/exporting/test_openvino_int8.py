"""`mednext export --precision int8`: kept where the Dice stays, and what predicts with it."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.cache.reader import open_cache
from mednext_cli.exporting.calibration import draw_patches, measure_dice
from mednext_cli.inference.average import build_average
from mednext_cli.inference.engine import EngineOptions
from mednext_cli.inference.int8_networks import WEIGHTS, int8_folder
from mednext_cli.inference.models import load_models
from mednext_cli.networks.building import build_plain, hash_weights
from mednext_cli.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from mednext_cli.networks.spec import describe_network
from mednext_cli.settings.progress import Origin
from tests.exporting.small import SHALLOW
from tests.inference.synthetic import predict
from tests.inference.test_probabilities import largest_file

Capture = pytest.CaptureFixture[str]
SHAPE = (16, 32, 16)
CASES = ("c0", "c1", "c2", "c3")


def make_cache(folder: Path, spike: float = 0.0) -> Path:
    """Four cases with an organ twice as bright; two voxels are off by `spike`, up and down."""
    raw, random = folder / "raw" / "Dataset001_Boxes", np.random.default_rng(0)
    for name in ("imagesTr", "labelsTr"):
        (raw / name).mkdir(parents=True)
    for case in CASES:
        label = np.zeros(SHAPE, dtype=np.uint8)
        corner = random.integers(1, 4, 3)
        label[tuple(slice(c, c + n) for c, n in zip(corner, (10, 22, 11), strict=True))] = 1
        image = 10.0 + 10.0 * label + random.normal(0, 0.3, SHAPE)
        image[0, 0, 0] += spike
        image[-1, -1, -1] -= spike
        nib.save(nib.Nifti1Image(label, np.eye(4)), raw / "labelsTr" / f"{case}.nii.gz")
        path = raw / "imagesTr" / f"{case}_0000.nii.gz"
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.eye(4)), path)
    content = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "organ": 1},
        "numTraining": len(CASES),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(content))
    options = ["--dataset", "nnunet", "--cache", str(folder / "cache"), "--workers", "0"]
    assert main(["preprocess", str(raw), *options, "--dtype", "float32"]) == 0
    return folder / "cache" / raw.name


def save_run(folder: Path, cache: Path, validation: tuple[str, ...] = CASES[2:]) -> Path:
    """A run whose network says organ where an image is brighter than its mean."""
    cached = open_cache(cache)
    spec = describe_network("mednext", 1, 2, False, kernel=3, **SHALLOW)
    weights = build_plain(spec).state_dict()
    for name, tensor in weights.items():
        if "compress" in name or "shortcut" in name:
            tensor *= 1e-3  # blocks leave what they are given nearly as it is
    for name in ("stem.bias", "heads.0.weight", "heads.0.bias"):
        weights[name].zero_()
    weights["stem.weight"][0] = 1.0
    weights["heads.0.weight"][0, 0], weights["heads.0.weight"][1, 0] = -1.0, 1.0
    plan = cached.plan.model_copy(update={"patch_voxels": SHAPE})
    training = tuple(name for name in CASES if name not in validation)
    origin = Origin(
        training_cases=training, validation_cases=validation, case_keys=cached.keys(CASES)
    )
    path = folder / "fold0" / "checkpoint_best.pt"
    path.parent.mkdir(parents=True)
    save_checkpoint(path, Checkpoint(spec, weights, plan=plan, origin=origin))
    return path


def export(model: Path, *options: str) -> int:
    return main(["export", str(model), "--to", "openvino", "--precision", "int8", *options])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cache(tmp_path_factory.mktemp("boxes"))


@pytest.fixture
def scans(cache: Path, tmp_path: Path) -> Path:
    (tmp_path / "scans").mkdir()
    raw = cache.parents[1] / "raw" / cache.name / "imagesTr" / "c3_0000.nii.gz"
    shutil.copy(raw, tmp_path / "scans" / "c3.nii.gz")
    return tmp_path / "scans"


def predict_int8(scans: Path, out: Path, model: Path, *options: str) -> int:
    return predict(scans, out, model, options=("--engine", "openvino", *options))


@pytest.mark.slow
def test_a_network_that_int8_leaves_as_it_is(
    cache: Path, scans: Path, tmp_path: Path, capsys: Capture
) -> None:
    openvino = pytest.importorskip("openvino", reason="the extra openvino is not installed")
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    model = save_run(tmp_path, cache)
    assert export(model.parent, "--calibrate", str(cache)) == 0
    folder = model.parent / "export" / "checkpoint_best_openvino_int8"
    told = capsys.readouterr().out
    assert f"{folder}\tmean Dice 1.0000 in float32, 1.0000 in int8 (all convolutions)" in told
    assert "on 2 validation cases" in told
    graph = openvino.Core().read_model(folder / "network.xml")
    assert any(one.get_type_name() == "FakeQuantize" for one in graph.get_ops())
    assert json.loads(graph.get_rt_info(["mednext", "dice_int8"]).astype(str))["organ"] > 0.99
    kinds = {one.get_element_type().get_type_name() for one in graph.get_ops() if not one.inputs()}
    assert kinds & {"i8", "u8"}
    found = {}
    for precision in ("float32", "int8"):
        out = tmp_path / precision
        assert predict_int8(scans, out, model, "--precision", precision) == 0
        found[precision] = np.asarray(nib.load(out / "c3.nii.gz").dataobj)
    np.testing.assert_array_equal(found["int8"], found["float32"])
    assert found["int8"].any()


@pytest.mark.slow
def test_a_network_that_int8_ruins_is_not_kept(tmp_path: Path, capsys: Capture) -> None:
    """What matters lies within one step of eight bits."""
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    cache = make_cache(tmp_path, spike=50_000.0)
    model = save_run(tmp_path, cache)
    capsys.readouterr()
    assert export(model, "--calibrate", str(cache)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    error = captured.err.strip().splitlines()[-1]
    assert "is not kept in int8: its mean Dice of " in error
    assert "with all convolutions in int8 (organ by " in error
    assert "with all but depthwise and transposed convolutions in int8" in error
    assert "which is to be below 0.002" in error
    assert not list(model.parent.rglob("*.xml"))
    assert not list((model.parent / "export").glob(".*"))


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A float32 graph stands in for one in int8; a limit on files for the disk."""
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    from mednext_cli.exporting import openvino_int8

    monkeypatch.setattr(openvino_int8, "load_nncf", lambda: None)
    monkeypatch.setattr(openvino_int8._Trial, "_quantise", lambda _, graph, *__: graph)
    model = save_run(tmp_path, cache)
    for size in (1_000, 150_000):  # neither file fits, one of them
        with largest_file(size):
            assert export(model, "--calibrate", str(cache)) == 2
        assert "checkpoint_best_openvino_int8 cannot be written" in capsys.readouterr().err
        assert not list((model.parent / "export").iterdir())
    assert export(model, "--calibrate", str(cache)) == 0


def test_dice_of_cached_cases(cache: Path, tmp_path: Path) -> None:
    """Against counting by hand, of a network that takes the brighter half of an organ's voxels."""
    path, cached = save_run(tmp_path, cache), open_cache(cache)
    model = load_models([path])[0]
    told: list[str] = []
    first = cached.case(CASES[2])
    middle = float(np.median(first.read_image()[0][first.read_label() == 1]))
    for bias in (0.0, middle):
        weights = dict(model.checkpoint.state_dict)
        weights["heads.0.bias"] = torch.tensor([bias, -bias])
        checkpoint = replace(model.checkpoint, state_dict=weights)
        options = EngineOptions(torch.device("cpu"), "stock")
        average = build_average([replace(model, checkpoint=checkpoint)], "torch", options)
        with torch.inference_mode():
            found = measure_dice(average, cached, CASES[2:], told.append)
        expected = []
        for name in CASES[2:]:
            case = cached.case(name)
            brighter, organ = case.read_image()[0] > bias, case.read_label() == 1
            expected.append(2 * (brighter & organ).sum() / (brighter.sum() + organ.sum()))
        assert found == {"organ": pytest.approx(np.mean(expected), abs=0.03)}
    assert 0.2 < found["organ"] < 0.9
    assert told == [*CASES[2:], *CASES[2:]]


def test_patches_to_calibrate_on(cache: Path, tmp_path: Path) -> None:
    """The same each time, of all cases, and with zeros beyond an image that is too small."""
    cached, model = open_cache(cache), load_models([save_run(tmp_path, cache)])[0]
    small = replace(model, plan=model.plan.model_copy(update={"patch_voxels": (16, 16, 32)}))
    large = replace(model, plan=model.plan.model_copy(update={"patch_voxels": (16, 48, 16)}))
    drawn = draw_patches(small, cached, CASES[:2])
    assert len(drawn) == 32
    assert {patch.shape for patch in drawn} == {(1, 1, 16, 16, 32)}
    again = draw_patches(small, cached, CASES[:2])
    assert all(np.array_equal(one, other) for one, other in zip(drawn, again, strict=True))
    assert len({patch.tobytes() for patch in drawn}) > 8
    padded = draw_patches(large, cached, CASES[:1])[0]
    np.testing.assert_array_equal(padded[0, :, :, :32], cached.case(CASES[0]).read_image())
    assert not padded[0, :, :, 32:].any()


def test_options_that_do_not_fit(cache: Path, tmp_path: Path, capsys: Capture) -> None:
    model = save_run(tmp_path, cache)
    calibrate = ("--calibrate", str(cache))
    for options, text in (
        (("--to", "openvino", "--precision", "int8"), "needs cases to fit it to"),
        (("--to", "onnx", "--precision", "int8", *calibrate), "is not for --to onnx"),
        (("--to", "openvino", *calibrate), "--calibrate is for int8"),
        (
            ("--to", "openvino", "--precision", "int8", "--calibrate", str(tmp_path)),
            "is not a cache",
        ),
    ):
        assert main(["export", str(model), *options]) == 2
        assert text in capsys.readouterr().err
    assert list(model.parent.rglob("*openvino*")) == []


def test_without_nncf(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    assert export(save_run(tmp_path, cache), "--calibrate", str(cache)) == 2
    error = capsys.readouterr().err
    assert "NNCF, which makes int8 of networks, is not installed" in error
    assert "pip install 'mednext[int8]'" in error


def test_runs_without_cases_to_measure_it_on(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from mednext_cli.exporting import openvino_int8

    monkeypatch.setattr(openvino_int8, "load_nncf", lambda: None)
    model = save_run(tmp_path / "good", cache)
    whole = load_checkpoint(model)
    cases = whole.origin.model_dump()
    origins = {
        "does not say which cases it was trained on": None,
        "was trained on every case": {"validation_cases": ()},
        "lacks c9, a case of": {"training_cases": ("c0", "c9")},
        "c1 in": {"case_keys": {**cases["case_keys"], "c1": "other"}},
    }
    for number, (text, changed) in enumerate(origins.items()):
        path = tmp_path / f"{number}.pt"
        origin = None if changed is None else Origin(**{**cases, **changed})
        made = Checkpoint(whole.network, whole.state_dict, plan=whole.plan, origin=origin)
        save_checkpoint(path, made)
        assert export(path, "--calibrate", str(cache)) == 2
        assert text in capsys.readouterr().err


@pytest.mark.slow
def test_predicting_with_what_lies_beside_the_checkpoint(
    cache: Path, scans: Path, tmp_path: Path, capsys: Capture
) -> None:
    """A float32 graph stands in for one in int8, which takes minutes to make."""
    openvino = pytest.importorskip("openvino", reason="the extra openvino is not installed")
    model, out = save_run(tmp_path, cache), tmp_path / "out"
    options = ("--precision", "int8")
    assert predict_int8(scans, out, model, *options) == 2
    error = capsys.readouterr().err
    assert f"{model} has no network in int8 beside it" in error
    assert f"mednext export {model} --to openvino --precision int8 --calibrate CACHE" in error
    assert not list(out.glob("*"))
    assert main(["export", str(model), "--to", "openvino"]) == 0
    graph = openvino.Core().read_model(model.parent / "export/checkpoint_best_openvino/network.xml")
    place = int8_folder(model) / "network.xml"
    openvino.save_model(graph, place)
    for weights, text in (("", "is damaged"), ("other", "was made of other weights")):
        if weights:
            graph.set_rt_info(weights, ["mednext", WEIGHTS])
            openvino.save_model(graph, place)
        assert predict_int8(scans, tmp_path / f"not{weights}", model, *options) == 2
        assert text in capsys.readouterr().err
    graph.set_rt_info(hash_weights(load_checkpoint(model).state_dict), ["mednext", WEIGHTS])
    openvino.save_model(graph, place)
    assert predict_int8(scans, out, model, *options) == 0
    assert np.asarray(nib.load(out / "c3.nii.gz").dataobj).any()
    settings = json.loads((out / "predict.json").read_text())["settings"]
    assert settings["precision"] == "int8"
    capsys.readouterr()
    assert predict_int8(scans, out, model, "--precision", "float32") == 2
    assert "made with other int8 and precision" in capsys.readouterr().err
    graph.set_rt_info("another", ["mednext", "calibration"])
    openvino.save_model(graph, place)
    assert predict_int8(scans, out, model, *options) == 2
    assert "made with other int8" in capsys.readouterr().err
    assert predict(scans, tmp_path / "torch", model, options=options) == 2
    assert "precision int8 is of the engine openvino. Add --engine" in capsys.readouterr().err
