"""`mednext export --to monai-bundle`: MONAI checks it, runs it, and finds our label maps."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.exporting.bundled import LabelMap, Normalisation, network
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.networks.tensor_files import load_tensors
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.plan import Plan
from mednext_cli.volumes.normalise import normalise_ct
from tests.exporting.small import save_small
from tests.inference.synthetic import PLAN, predict


def export(model: Path) -> Path:
    assert main(["export", str(model), "--to", "monai-bundle"]) == 0
    return model.parent / "export" / f"{model.stem}_bundle"


def test_what_is_in_it(tmp_path: Path) -> None:
    model = save_small(tmp_path / "one.pt")
    bundle = export(model)
    files = sorted(str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file())
    assert files == ["configs/inference.json", "configs/metadata.json", "models/model.pt"]
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    data = metadata["network_data_format"]
    assert data["outputs"]["pred"]["channel_def"] == {
        "0": "background",
        "1": "kidney",
        "2": "tumour",
    }
    assert data["inputs"]["image"]["spatial_shape"] == ["32*n"] * 3  # 16 alone would be too small
    assert metadata["mednext"]["activation"] == "softmax"
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    assert config["inferer"]["roi_size"] == [16, 32, 16]
    made = network(config["network_def"]["description"])
    made.load_state_dict(load_tensors(bundle / "models" / "model.pt"))
    for name, value in load_checkpoint(model).state_dict.items():
        assert torch.equal(made.state_dict()[name], value), name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MONAI's own
@pytest.mark.parametrize("regions", [False, True])
def test_monai_runs_it_to_our_label_map(tmp_path: Path, regions: bool) -> None:
    monai = pytest.importorskip("monai.bundle", reason="the extra baselines is not installed")
    model = save_small(tmp_path / "one.pt", plan=_plan_of_regions() if regions else PLAN)
    bundle = export(model)
    config, metadata = (bundle / "configs" / name for name in ("inference.json", "metadata.json"))
    monai.verify_net_in_out(
        net_id="network_def", meta_file=str(metadata), config_file=str(config), device="cpu"
    )
    images = bundle / "images"
    images.mkdir()
    # One tile in the plan's spacing: tiles and resampling of MONAI are others.
    voxels = np.random.default_rng(0).normal(100, 20, size=(16, 32, 16)).astype(np.float32)
    affine = np.diag([-2.0, -2.0, 2.0, 1.0])
    nib.save(nib.Nifti1Image(voxels, affine), images / "scan.nii.gz")
    parser = monai.ConfigParser()
    parser.read_config(config)
    parser["bundle_root"], parser["device"] = str(bundle), "$torch.device('cpu')"
    with torch.no_grad():
        parser.get_parsed_content("run")
    options = ("--workers", "0", "--no-mirror")
    assert predict(images, tmp_path / "out", model, options=options) == 0
    found, expected = (
        nib.load(folder / "scan.nii.gz") for folder in (bundle / "predictions", tmp_path / "out")
    )
    np.testing.assert_allclose(found.affine, expected.affine)
    assert len(np.unique(expected.dataobj)) > 1
    assert np.mean(np.asarray(found.dataobj) == np.asarray(expected.dataobj)) > 0.999


def _plan_of_regions() -> Plan:
    names = {"edema": 1, "core": 2, "enhancing": 4}
    labels = LabelSet(
        names,
        {"whole": (1, 2, 4), "inner": (2, 4), "enhancing": (4,)},
        region_training=True,
        region_values=(1, 2, 4),
    )
    return PLAN.model_copy(update={"label_set": labels})


def test_label_values_of_classes_and_regions() -> None:
    probabilities = torch.tensor([[0.6, 0.2, 0.1], [0.3, 0.7, 0.1], [0.1, 0.1, 0.8]])
    given = probabilities.reshape(3, 1, 1, 3)
    classes = LabelMap(PLAN.model_dump(mode="json")["label_set"])
    assert classes(given).flatten().tolist() == [0, 1, 4]
    regions = LabelMap(_plan_of_regions().model_dump(mode="json")["label_set"])
    assert regions(given).flatten().tolist() == [1, 2, 4]
    assert torch.equal(given.flatten(), probabilities.flatten())


def test_each_channel_is_normalised_by_its_own_scheme() -> None:
    image = torch.rand(2, 4, 5, 6) * 100
    ct = {"scheme": "ct", "lower": 10.0, "upper": 90.0, "mean": 40.0, "std": 20.0}
    made = Normalisation([ct, {"scheme": "none"}])(image)
    np.testing.assert_array_equal(made[0], normalise_ct(image[0].numpy().copy(), 10, 90, 40, 20))
    assert torch.equal(made[1], image[1])
    masked = torch.cat([torch.zeros(1, 2, 3, 4), torch.rand(1, 2, 3, 4) + 5], 1)
    [inside] = Normalisation([{"scheme": "z_score", "use_nonzero_mask": True}])(masked)
    assert torch.equal(inside[:2], torch.zeros(2, 3, 4))
    assert abs(float(inside[2:].mean())) < 1e-5
    assert float(inside[2:].std(correction=0)) == pytest.approx(1, abs=1e-4)
