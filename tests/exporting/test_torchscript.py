"""`mednext export --to torchscript`: a program that runs without mednext."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mednext_cli.app import main
from mednext_cli.inference.models import load_models
from mednext_cli.networks.checkpoint import build_network
from tests.exporting.small import save_small
from tests.inference.synthetic import PLAN
from tests.networks.small_networks import SMALL, small_spec

_ALONE = """
import json, sys
import numpy as np, torch
files = {"mednext.json": ""}
program = torch.jit.load(sys.argv[1], _extra_files=files)
with torch.no_grad():
    logits = program(torch.from_numpy(np.load(sys.argv[2])))
np.save(sys.argv[3], logits.numpy())
print(json.dumps([json.loads(files["mednext.json"])["activation"], "mednext_cli" in sys.modules]))
"""


def export(model: Path) -> int:
    return main(["export", str(model), "--to", "torchscript"])


@pytest.mark.slow
def test_it_runs_alone_on_any_patch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_small(tmp_path / "one.pt")
    assert export(model) == 0
    shown = capsys.readouterr().out
    path = tmp_path / "export" / "one.ts"
    assert f"{path}\tlabels equal to PyTorch's in 16384 voxels" in shown
    assert "only" not in shown
    image, found = tmp_path / "image.npy", tmp_path / "found.npy"
    np.save(image, np.random.default_rng(0).normal(size=(2, 1, 48, 16, 32)).astype(np.float32))
    command = [sys.executable, "-c", _ALONE, str(path), str(image), str(found)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["softmax", False]
    network = build_network(load_models([model])[0].checkpoint)
    with torch.inference_mode():
        expected = network(torch.from_numpy(np.load(image))).numpy()
    np.testing.assert_allclose(np.load(found), expected, atol=1e-5)


@pytest.mark.slow
def test_what_is_for_one_patch_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patch = SMALL["unetr"].patch
    plan = PLAN.model_copy(update={"patch_voxels": patch})
    model = save_small(tmp_path / "one.pt", small_spec("unetr"), plan)
    assert export(model) == 0
    shown = capsys.readouterr().out
    assert f"; for {' x '.join(map(str, patch))} voxels only" in shown


def test_another_programs_result_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Thrice(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, x, x], 1)

    trace = torch.jit.trace
    monkeypatch.setattr(
        torch.jit, "trace", lambda _, image, **options: trace(Thrice(), image, **options)
    )
    assert export(save_small(tmp_path / "one.pt")) == 2
    assert "one.ts is not kept: its labels differ from PyTorch's" in capsys.readouterr().err
    assert list((tmp_path / "export").iterdir()) == []
