"""What the doctor finds."""

import pytest

from mednext_cli.scaling import doctor
from mednext_cli.scaling.doctor import examine


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
    monkeypatch.setattr(doctor.torch, "__version__", torch_version)
    monkeypatch.setattr(doctor.torch.backends.cudnn, "version", lambda: cudnn)
    warnings = [one for one in examine() if one.what == "bfloat16 convolutions"]
    assert [one.status for one in warnings] == (["warning"] if warned else [])
    assert all("9.1" in one.found for one in warnings)


def test_what_does_not_work_is_said_in_one_line(monkeypatch):
    def fail():
        raise OSError("no\nroom")

    monkeypatch.setattr(doctor, "_write_temporary", fail)
    finding = next(one for one in examine() if one.what == "temporary folder")
    assert (finding.status, finding.found) == ("failed", "OSError: no room")
