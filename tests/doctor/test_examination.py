"""What the doctor finds."""

import os
import subprocess
import sys

import pytest

from mednext_cli.doctor import examination
from mednext_cli.doctor.examination import examine


def test_this_installation_is_sound():
    findings = examine()
    assert [one.what for one in findings if one.status == "failed"] == []
    assert {"python", "torch", "cores", "free memory", "network"} <= {one.what for one in findings}


@pytest.mark.parametrize(
    ("torch_version", "cudnn", "warned"),
    [
        ("2.9.0+cu128", 91002, True),
        ("2.9.1", 91400, True),
        ("2.9.1", 91500, False),
        ("2.10.0", 91002, False),
        ("2.9.1+cpu", None, False),
    ],
)
def test_wrong_convolutions_of_torch_2_9_are_warned_of(monkeypatch, torch_version, cudnn, warned):
    monkeypatch.setattr("torch.__version__", torch_version)
    monkeypatch.setattr("torch.backends.cudnn.version", lambda: cudnn)
    warnings = [one for one in examine() if one.what == "bfloat16 convolutions"]
    assert [one.status for one in warnings] == (["warning"] if warned else [])
    assert all("9.1" in one.found for one in warnings)


@pytest.mark.parametrize(
    "error", ["ModuleNotFoundError('No module named torch')", "OSError('libc10.so: no such file')"]
)
def test_a_torch_that_does_not_load_is_a_finding_and_the_rest_is_examined(tmp_path, error):
    (tmp_path / "torch.py").write_text(f"raise {error}")
    done = subprocess.run(
        [sys.executable, "-m", "mednext_cli", "doctor"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    found = {line.split("\t")[0]: line.split("\t")[-1] for line in done.stdout.splitlines()}
    assert found["torch loads"] == "failed"
    assert found["hdf5 with Blosc2"] == found["temporary folder"] == "ok"
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "torch loads" in done.stderr


def test_what_does_not_work_is_said_in_one_line(monkeypatch):
    def fail():
        raise OSError("no\nroom")

    monkeypatch.setattr(examination, "_write_temporary", fail)
    finding = next(one for one in examine() if one.what == "temporary folder")
    assert (finding.status, finding.found) == ("failed", "OSError: no room")
