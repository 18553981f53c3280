"""Files from anybody: nothing in them runs, nothing grows, and each is refused in one line."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.networks.tensor_files import load_tensors
from mednext_cli.networks.weight_files import read_weights
from tests.fuzzing import limits
from tests.inference.synthetic import save_model
from tests.networks.archives import (
    numpy_scalar,
    pack,
    read_content,
    repack,
    state_dict,
    tensor,
)

FORTY = {"data/0": bytes(40)}
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model.pt", 0)


def refused(path: Path, capsys: Capture) -> str:
    """What upkern and import say of a file: one line each, exit code 2."""
    capsys.readouterr()
    out = path.with_name("out.pt")
    with limits():
        assert main(["upkern", "--from", str(path), "--to", "k5", "--out", str(out)]) == 2
        said = capsys.readouterr().err
        assert main(["weights", "import", str(path), "--out", str(out)]) == 2
    lines = [*said.splitlines(), *capsys.readouterr().err.splitlines()]
    assert len(lines) == 2, lines
    assert all(str(path) in line for line in lines)
    assert not out.exists()
    return said


def test_the_helpers_make_what_torch_reads(tmp_path: Path) -> None:
    path = pack(tmp_path / "good.pt", state_dict("a", tensor(10, [2, 5], [5, 1])), FORTY)
    assert torch.equal(load_tensors(path)["a"], torch.zeros(2, 5))
    path = pack(tmp_path / "view.pt", state_dict("a", tensor(10, [4], [2], offset=1)), FORTY)
    assert load_tensors(path)["a"].shape == (4,)


@pytest.mark.parametrize(
    "claim",
    [
        tensor(10**9, [10**9], [1]),  # longer than its record
        tensor(2, [2], [1]),  # shorter
        tensor(10, [10**9], [0]),  # expanded
        tensor(10, [11], [1]),
        tensor(10, [10], [1], offset=1),
        tensor(10, [5], [-1], offset=9),
        tensor(10, [-5], [1]),
        tensor(10, [2, 5], [1]),
        tensor(10, [1] * 100, [1] * 100),
        tensor(10, [10], [1], key="1"),  # not there
        tensor(-10, [10], [1]),
        tensor(10, [10], [1], offset=-3),
    ],
)
def test_a_tensor_is_what_is_stored_of_it(tmp_path: Path, capsys: Capture, claim: bytes) -> None:
    path = pack(tmp_path / "claim.pt", state_dict("stem.weight", claim), FORTY)
    assert "is damaged" in refused(path, capsys)


@pytest.mark.parametrize(
    "structure",
    [
        b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        b"\x80\x02ctorch\nTensor\nJ\xff\xff\xff\x7f\x85R.",
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.",
        b"\x80\x02ctorch\n\x1b[31m\n.",
        # The state of a storage, of a tensor, of a function.
        tensor(10, [10], [1])[:-1] + b"}b.",
        b"\x80\x02c_codecs\nencode\n}X\x01\x00\x00\x00aNsb.",
        # numpy's own: any type but a number, any size but its own, arrays.
        numpy_scalar("O8", "AAAAAAAA"),
        numpy_scalar("V8", "AAAAAAAA"),
        b"\x80\x02cnumpy._core.multiarray\n_reconstruct\n.",
        # A device that is no name and number.
        b"\x80\x02ctorch\ndevice\ncos\nsystem\n\x85R.",
        b"\x80\x02ctorch\ndevice\nK\x01\x85R.",
    ],
)
def test_what_is_no_data_is_refused_and_not_run(
    tmp_path: Path, capsys: Capture, structure: bytes
) -> None:
    said = refused(pack(tmp_path / "code.pt", structure, FORTY), capsys)
    assert "is refused: it holds pickled Python objects" in said
    assert "\x1b" not in said


def test_numbers_of_numpy_become_plain_whatever_state_their_type_is_given(tmp_path: Path) -> None:
    hostile = (
        b"(K\x03X\x01\x00\x00\x00|N(X\x01\x00\x00\x00at}X\x01\x00\x00\x00aK\x01sK\x08K\x01K\x00tb"
    )
    for state in (b"(K\x03X\x01\x00\x00\x00<NNNtb", hostile, b"Nb"):
        path = pack(tmp_path / "number.pt", numpy_scalar("f8", "\0\0\0\0\0\0\xf0?", state))
        value = load_tensors(path)
        assert (type(value), value) == (float, 1.0)
    path = pack(tmp_path / "number.pt", numpy_scalar("f8", "\0\0\0\0"))
    with pytest.raises(CheckpointError, match="damaged"):
        load_tensors(path)
    torch.save({"best": np.float64(0.5), "epoch": np.int64(3), "done": np.bool_(True)}, path)
    assert load_tensors(path) == {"best": 0.5, "epoch": 3, "done": True}


@pytest.mark.slow
def test_what_would_grow_is_refused(model: Path, tmp_path: Path, capsys: Capture) -> None:
    content, path = read_content(model), tmp_path / "bomb.pt"
    torch.save({**content, "state_dict": {"a": torch.zeros(10**7)}}, path)
    repack(path.read_bytes(), path, zipfile.ZIP_DEFLATED)
    assert "members are compressed" in refused(path, capsys)
    shared = torch.zeros(10**5)
    weights = {f"{number}": shared.view(100, 1000) for number in range(100)}
    torch.save({**content, "state_dict": weights}, path)
    assert "larger than the file" in refused(path, capsys)
    laughter = [1, 2]
    for _ in range(40):
        laughter = [laughter] * 10
    torch.save({**content, "plan": {"x": laughter}}, path)
    assert "endless" in refused(path, capsys)
    deep: list[object] = []
    for _ in range(200):
        deep = [deep]
    torch.save({**content, "plan": {"x": deep}}, path)
    assert "endless" in refused(path, capsys)
    pack(path, b"\x80\x02Nr\xff\xff\xff\x7f.")  # a memo of 2^31 places
    assert "damaged" in refused(path, capsys)


def test_members_are_there_once(model: Path, tmp_path: Path, capsys: Capture) -> None:
    path = pack(
        tmp_path / "twice.pt",
        state_dict("a", tensor(10, [10], [1])),
        {**FORTY, "DATA/0": bytes(400)},
    )
    assert "same name" in refused(path, capsys)


def test_a_program_and_a_file_of_an_old_torch_are_named(
    model: Path, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "old.pt"
    torch.save(read_content(model), path, _use_new_zipfile_serialization=False)
    assert "before version 1.6" in refused(path, capsys)
    pack(path, b"\x80\x02N.", {"constants.pkl": b"\x80\x02).", "code/a.py": b""})
    assert "TorchScript" in refused(path, capsys)


def test_any_flipped_byte_is_found(model: Path, capsys: Capture) -> None:
    content = model.read_bytes()
    places = np.random.default_rng(0).integers(0, len(content), 25).tolist()
    for place in (*places, *range(len(content) - 50, len(content), 7)):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        model.write_bytes(damaged)
        assert "damaged" in refused(model, capsys), place


def test_without_the_seal_the_checksums_of_the_archive_count(
    model: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Checkpoints of earlier versions have no seal."""
    path = tmp_path / "early.pt"
    torch.save(read_content(model), path)
    assert load_checkpoint(path).network == load_checkpoint(model).network
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    assert "do not match its checksum" in refused(path, capsys)


def test_the_other_checkpoint_of_a_run_is_the_way_out(tmp_path: Path, capsys: Capture) -> None:
    best, last = (save_model(tmp_path / f"checkpoint_{name}.pt", 0) for name in ("best", "last"))
    last.write_bytes(last.read_bytes()[:-100])
    said = refused(last, capsys)
    assert f"Use {best}" in said
    assert "--restart" in said


def test_arrays_that_claim_more_than_they_hold(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, weight=np.zeros(10**7))
    with limits(), pytest.raises(CheckpointError, match="far larger than the file"):
        read_weights(path)
    np.savez(path, weight=np.zeros(4, np.float32))
    with zipfile.ZipFile(path) as file:
        array = file.read("weight.npy")
    claim = array.replace(b"(4,), }       ", b"(99999999,), }")
    assert claim != array
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("weight.npy", claim)
    with limits(), pytest.raises(CheckpointError, match="claims more"):
        read_weights(path)
    np.savez(path, allow_pickle=True, weight=np.array([{}], object))
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_weights(path)
    assert main(["weights", "import", str(path), "--out", str(tmp_path / "out.pt")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
