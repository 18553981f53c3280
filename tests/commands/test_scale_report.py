"""`mednext scale-report` through the command line."""

import csv
from dataclasses import fields

import pytest

from mednext_cli.app import main
from mednext_cli.scaling import measure
from mednext_cli.scaling.table import SCALE_REPORT, ScaleRow


def _read(folder):
    with (folder / "scale_report.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_all_networks_beside_the_published(tmp_path, capsys):
    assert main(["scale-report", "--out", str(tmp_path)]) == 0
    rows = _read(tmp_path)
    assert [(row["model"], row["kernel"]) for row in rows] == [
        (size, kernel) for size in "SBML" for kernel in "35"
    ]
    assert list(rows[0]) == [field.name for field in fields(ScaleRow)] == list(SCALE_REPORT.names)
    for row in rows:
        off = abs(float(row["multiply_adds_deviation_percent"]))
        assert off <= 2.1
        assert ("fvcore" in row["note"]) is (off > 2)
        assert abs(float(row["parameters_deviation_percent"])) <= 2
    assert (tmp_path / "scale_report.png").read_bytes().startswith(b"\x89PNG")
    header = capsys.readouterr().out.splitlines()[0].split("\t")
    assert header[:3] == ["network", "parameters, M", "published, M"]
    assert len(set(header)) == len(header)
    for column in SCALE_REPORT.columns:
        if column.unit == "GiB":
            words = f"{column.name} {column.meaning}"
            assert "float32" in words or "half" in words or "precision" in words


@pytest.mark.slow
def test_another_patch_and_kernel_have_nothing_published_beside_them(tmp_path):
    options = ["--models", "S", "--kernels", "3,7", "--patch", "32,48,32", "--batch", "1"]
    assert main(["scale-report", *options, "--out", str(tmp_path), "--quiet"]) == 0
    rows = _read(tmp_path)
    assert [row["kernel"] for row in rows] == ["3", "7"]
    assert {row["patch"] for row in rows} == {"32 x 48 x 32"}
    assert {row["published_multiply_adds_giga"] for row in rows} == {""}
    assert {row["forward_seconds"] for row in rows} == {""}


@pytest.mark.slow
def test_other_networks_widths_and_a_device_sheet(tmp_path, capsys):
    options = ["--models", "S", "--kernels", "3", "--widths", "8,16", "--networks", "mednext,uxnet"]
    options += ["--patch", "16,16,32", "--device-sheet", "rtx4090", "--effective-field"]
    assert main(["scale-report", *options, "--out", str(tmp_path)]) == 0
    rows = _read(tmp_path)
    assert [row["network"] for row in rows] == ["S-k3-w8", "S-k3-w16", "uxnet"]
    assert [row["width"] for row in rows] == ["8", "16", ""]
    assert {row["sheet_precision"] for row in rows} == {"bfloat16"}
    for row in rows:
        assert float(row["estimated_floor_hours"]) < float(row["estimated_hours"])
        assert float(row["effective_field"]) < int(row["receptive_field"].split(" x ")[0])
    assert "estimated hours" in capsys.readouterr().out


@pytest.mark.slow
def test_measured_times_and_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "_SECONDS", 0.1)
    options = ["--models", "S", "--kernels", "3", "--patch", "16,16,32", "--measure"]
    folder = ["--device", "cpu", "--out", str(tmp_path), "--quiet"]
    assert main(["scale-report", *options, *folder]) == 0
    row = _read(tmp_path)[0]
    assert float(row["step_seconds"]) > float(row["forward_seconds"]) > 0
    assert row["precision"] == "float32"
    assert float(row["training_hours"]) == pytest.approx(
        float(row["step_seconds"]) * 250_000 / 3600, rel=0.01
    )
    assert row["device"].startswith("cpu")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--models", "S,X"], "unknown size 'X'"),
        (["--kernels", "4"], "3, 5 or 7"),
        (["--networks", "mednxt"], "Did you mean mednext?"),
        (["--device-sheet", "tpu"], "tpu"),
        (["--kernels", "three"], "whole numbers"),
        (["--kernels", ","], "empty list"),
        (["--patch", "100"], "nearest sizes are 96 x 96 x 96"),
        (["--patch", "16"], "the smallest is 16 x 16 x 32"),
        (["--patch", "64,64"], "not a patch"),
        (["--measure", "--device", "cuda:99"], "cuda:99"),
    ],
)
def test_wrong_options_are_refused_in_one_line(tmp_path, capsys, options, reason):
    out = tmp_path / "report"
    assert main(["scale-report", *options, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert len(error.splitlines()) == 1
    assert not out.exists()
