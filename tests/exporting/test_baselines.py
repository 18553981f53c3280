"""The small network of every baseline through the engine onnx."""

from pathlib import Path

import pytest
import torch

from mednext_cli.inference.engine import EngineOptions, build_engine
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import Checkpoint
from tests.inference.synthetic import PLAN
from tests.networks.small_networks import SMALL, family_of, small_image, small_spec

pytest.importorskip("onnx", reason="the extra export is not installed")
pytest.importorskip("onnxruntime", reason="the extra export is not installed")
BASELINES = [name for name in SMALL if family_of(name).name != "mednext"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")  # PyTorch's own
@pytest.mark.parametrize("name", BASELINES)
def test_the_engine_gives_the_logits_of_pytorch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    torch.manual_seed(5)
    spec, images = small_spec(name), small_image(name)
    network = build_plain(spec).eval()
    plan = PLAN.model_copy(update={"patch_voxels": SMALL[name].patch})
    checkpoint = Checkpoint(spec, network.state_dict(), plan=plan)
    engine = build_engine("onnx", checkpoint, plan, EngineOptions(torch.device("cpu")))
    with torch.inference_mode():
        expected = network(images)
    torch.testing.assert_close(engine(images), expected, rtol=1e-3, atol=1e-3)
