"""`mednext weights` through the command line."""

import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.networks.weight_files import read_weights
from tests.places import COMMITTED, reference_files

FOLDER = "mednext_official"


@pytest.mark.parametrize("source", reference_files(FOLDER, "S_k3", "B_k5", "L_k5"))
def test_there_and_back_is_exact(source, tmp_path, capsys):
    checkpoint, back = tmp_path / "checkpoint.pt", tmp_path / "back.safetensors"
    size, kernel = source.stem.split("_k")
    options = ["--out", str(checkpoint), "--size", size, "--kernel", kernel]
    assert main(["weights", "import", str(source), *options]) == 0
    assert f"\nkernel\t{kernel}\n" in capsys.readouterr().out
    assert load_checkpoint(checkpoint).metadata["imported_from"] == source.name
    assert main(["weights", "export", str(checkpoint), "--out", str(back)]) == 0
    original, written = read_weights(source), read_weights(back)
    assert original.keys() == written.keys()
    for key in original.keys() - {"dummy_tensor"}:
        assert torch.equal(original[key], written[key]), key


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--size", "B"], "are of size S, not B"),
        (["--kernel", "5"], "have kernel 3, not 5"),
        (["--norm", "batch"], "'batch' is not one of 'group', 'layer'"),
    ],
)
def test_wrong_expectations_write_nothing(tmp_path, capsys, options, reason):
    source, out = COMMITTED / FOLDER / "S_k3.npz", tmp_path / "out.pt"
    assert main(["weights", "import", str(source), "--out", str(out), *options]) == 2
    assert reason in capsys.readouterr().err
    assert not out.exists()


def test_other_weights_are_refused_in_one_line(tmp_path, capsys):
    source, out = tmp_path / "other.npz", tmp_path / "out.pt"
    np.savez(source, weight=np.zeros(3))
    assert main(["weights", "import", str(source), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "other.npz: these are not weights of the published MedNeXt" in error
    assert len(error.splitlines()) == 1
    assert not out.exists()
