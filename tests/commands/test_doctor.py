"""`mednext doctor` through the command line."""

from mednext_cli.app import main
from mednext_cli.doctor import examination


def test_a_sound_installation_exits_with_zero(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("what\tfound\tstatus")
    assert "hdf5 with Blosc2\twritten and read back\tok" in out


def test_a_broken_one_exits_with_two_and_names_what_failed(monkeypatch, capsys):
    def fail():
        raise ImportError("no filter")

    monkeypatch.setattr(examination, "_store_and_read", fail)
    assert main(["doctor"]) == 2
    captured = capsys.readouterr()
    assert "ImportError: no filter\tfailed" in captured.out
    assert captured.err.strip().endswith(
        "1 checks failed: hdf5 with Blosc2. The table says what was found."
    )
