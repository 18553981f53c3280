"""`mednext export --to nnunet`: what nnU-Net v2 builds of the folder is the network."""

import json
from pathlib import Path

import pytest
import torch

from mednext_cli.app import main
from mednext_cli.inference.models import load_models
from mednext_cli.networks.checkpoint import build_network
from mednext_cli.networks.published import import_weights
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.plan import ChannelNormalisation, Plan
from tests.exporting.small import save_small
from tests.inference.synthetic import PLAN
from tests.networks.small_networks import SMALL, small_spec

NETWORKS = ("nnunet", "nnunet_resenc")
CLASSES = LabelSet({"kidney": 1, "tumour": 2}, {"kidney": (1, 2), "tumour": (2,)})
REGIONS = LabelSet(
    {"kidney": 1, "tumour": 2, "cyst": 3},
    {"whole": (1, 2, 3), "mass": (2, 3), "tumour": (2,)},
    region_training=True,
    region_values=(1, 3, 2),
)


def plan_of(labels: LabelSet, network: str = "nnunet") -> Plan:
    ct = ChannelNormalisation(scheme="ct", lower=-60.0, upper=300.0, mean=100.0, std=70.0)
    changes = {"label_set": labels, "patch_voxels": SMALL[network].patch, "normalisation": (ct,)}
    return PLAN.model_copy(update=changes)


@pytest.fixture(params=NETWORKS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / "fold3").mkdir()
    return save_small(tmp_path / "fold3" / "one.pt", small_spec(request.param), plan_of(CLASSES))


def export(model: Path) -> Path:
    assert main(["export", str(model), "--to", "nnunet"]) == 0
    return model.parent / "export" / f"{model.stem}_nnunet"


def test_the_folder_has_what_nnunet_reads(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = export(model)
    assert "labels equal to PyTorch's" in capsys.readouterr().out
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == ["dataset.json", "fold_3/checkpoint_final.pth", "plans.json"]
    dataset = json.loads((folder / "dataset.json").read_text())
    assert dataset["labels"] == {"background": 0, "kidney": 1, "tumour": 2}
    assert dataset["channel_names"] == {"0": "MRI"}
    plans = json.loads((folder / "plans.json").read_text())
    described = plans["configurations"]["3d_fullres"]
    assert described["spacing"] == [2.0, 2.0, 2.0]
    assert described["normalization_schemes"] == ["CTNormalization"]
    intensities = plans["foreground_intensity_properties_per_channel"]["0"]
    assert (intensities["percentile_00_5"], intensities["percentile_99_5"]) == (-60.0, 300.0)
    content = torch.load(folder / "fold_3" / "checkpoint_final.pth", weights_only=True)
    assert content["init_args"]["configuration"] == "3d_fullres"
    # Trained without mirroring; of an empty tuple nnU-Net would take the largest and fail.
    assert content["inference_allowed_mirroring_axes"] is None


def test_it_is_read_back_as_the_weights_it_was_made_of(model: Path, tmp_path: Path) -> None:
    content = torch.load(export(model) / "fold_3" / "checkpoint_final.pth", weights_only=True)[
        "network_weights"
    ]
    bare = tmp_path / "weights.pth"
    torch.save(content, bare)
    checkpoint = load_models([model])[0].checkpoint
    found = import_weights(bare, checkpoint.network.name).state_dict
    assert all(torch.equal(value, checkpoint.state_dict[name]) for name, value in found.items())


def test_regions_keep_their_order_and_values(tmp_path: Path) -> None:
    spec = small_spec("nnunet", out_channels=3)
    folder = export(save_small(tmp_path / "one.pt", spec, plan_of(REGIONS)))
    dataset = json.loads((folder / "dataset.json").read_text())
    assert list(dataset["labels"].items())[1:] == [
        ("whole", [1, 2, 3]),
        ("mass", [2, 3]),
        ("tumour", [2]),
    ]
    assert dataset["regions_class_order"] == [1, 3, 2]


@pytest.mark.filterwarnings("ignore")  # nnU-Net's own
def test_nnunet_itself_loads_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(model.parent))
    module = pytest.importorskip(
        "nnunetv2.inference.predict_from_raw_data", reason="nnU-Net is not installed"
    )
    predictor = module.nnUNetPredictor(device=torch.device("cpu"))
    predictor.initialize_from_trained_model_folder(str(export(model)), use_folds=(3,))
    image = torch.randn(1, 1, *SMALL["nnunet"].patch, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = build_network(load_models([model])[0].checkpoint)(image)
        torch.testing.assert_close(predictor.network.eval()(image), expected)


@pytest.mark.parametrize(
    ("network", "labels", "reason"),
    [
        ("mednext", CLASSES, "is of network mednext: nnU-Net v2 builds its own networks"),
        ("nnunet", PLAN.label_set, "label values 0, 1, 4, and nnU-Net knows 0, 1, 2"),
        (
            "nnunet",
            LabelSet(
                {"a": 1, "b": 2, "c": 3}, {"a": (1,), "b": (2,), "c": (3,)}, None, True, (1, 2, 3)
            ),
            "regions of one label each",
        ),
    ],
)
def test_what_nnunet_does_not_have_is_one_line(
    network: str, labels: LabelSet, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_small(tmp_path / "one.pt", small_spec(network), plan_of(labels, network))
    capsys.readouterr()
    assert main(["export", str(model), "--to", "nnunet"]) == 2
    assert reason in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / "export").glob("*"))
