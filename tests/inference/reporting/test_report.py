"""mednext predict --report: the page of a folder, whichever calls filled it."""

import base64
import io
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mednext_cli.inference.findings.files import CaseFiles
from mednext_cli.inference.reporting.cases import read_cases
from mednext_cli.inference.reporting.page import ReportContent, write_report
from mednext_cli.inference.torch_engine import NetworkEngine
from tests.inference.synthetic import predict


@pytest.fixture(autouse=True)
def by_brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bright voxels are kidney, dark ones tumour, at no cost."""

    def compute(engine: NetworkEngine, tiles: Tensor) -> Tensor:
        return torch.cat([0 * tiles, tiles, -tiles - 0.5], dim=1)

    monkeypatch.setattr(NetworkEngine, "__call__", compute)


def test_a_folder_is_told_as_a_whole(scans: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert predict(scans, out, model, options=("--cases", "oblique")) == 0
    assert not (out / "report.html").exists()
    (scans / "broken.nii.gz").write_bytes(b"no scan")
    (scans / "notes.docx").write_bytes(b"text")
    assert predict(scans, out, model, options=("--report", "--cases", "oblique")) == 0
    assert "<h3>oblique</h3>" in (out / "report.html").read_text(encoding="utf-8")
    assert predict(scans, out, model, options=("--report", "--uncertainty")) == 2
    page = (out / "report.html").read_text(encoding="utf-8")
    assert set(re.findall("<h3>(.*)</h3>", page)) == {"anisotropic", "oblique", "swapped"}
    assert "<b>broken</b>: " in page
    assert "4 cases given, 3 made" in page
    pictures = re.findall('src="data:image/jpeg;base64,([^"]*)"', page)
    assert len(pictures) == 3
    for text in pictures:
        Image.open(io.BytesIO(base64.b64decode(text))).load()
    labels = nib.load(out / "oblique.nii.gz")
    kidney = np.count_nonzero(np.asarray(labels.dataobj) == 1)
    volume = kidney * abs(np.linalg.det(labels.affine[:3, :3])) / 1000
    assert f'<td class="text">kidney</td><td>{volume:.4g}</td>' in page
    assert page.count("Uncertainty 0.") == 3
    assert not re.search(r'(src|href)="(?!data:)', page)  # self-contained
    assert (out / "volumes.csv").is_file()  # though a case failed


def test_uncertainty_is_the_mean_over_the_structures(
    scans: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("--report", "--uncertainty", "--cases", "swapped")
    assert predict(scans, out, model, options=options) == 0
    (found,) = read_cases(out, ["swapped"])
    entropy = np.asarray(nib.load(CaseFiles(out, "swapped").uncertainty("entropy")).dataobj)
    inside = np.asarray(nib.load(out / "swapped.nii.gz").dataobj) > 0
    assert found.uncertainty == pytest.approx(entropy[inside].mean(), rel=1e-5)


def test_what_is_lost_or_damaged_is_left_out(tmp_path: Path) -> None:
    huge = f"structure,volume_ml\n{'x' * 200_000},1\n"  # more than a field of a table may have
    tables = {"none": None, "bad": "case,structure\n1,2\n", "odd": "a\0b", "huge": huge}
    for name, table in tables.items():
        files = CaseFiles(tmp_path, name)
        files.preview.parent.mkdir(exist_ok=True)
        files.volumes.parent.mkdir(exist_ok=True)
        if table is not None:
            files.volumes.write_text(table)
            files.preview.write_bytes(b"\x89PNG but no picture")
    found = read_cases(tmp_path, tables)
    assert [dict(one.volumes_ml) for one in found] == [{}, {}, {}, {}]
    content = ReportContent(tmp_path, {}, found, {}, ["passed over in scans: a (no scan)"])
    page = write_report(content).read_text(encoding="utf-8")
    assert page.count("<h3>") == 4
    assert "<img" not in page
    assert "passed over in scans: a (no scan)" in page


def test_names_are_text_in_the_page(tmp_path: Path) -> None:
    (tmp_path / "volumes").mkdir()
    rows = "case,structure,volume_ml\nx,<script>alert(1)</script>,3\n"
    (tmp_path / "volumes" / "x.csv").write_text(rows)
    content = ReportContent(
        tmp_path, {"Models": "<b>"}, read_cases(tmp_path, ["x"]), {"<i>": "<u>"}, ["<s>"]
    )
    page = write_report(content).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    for text in ("&lt;script&gt;", "&lt;b&gt;", "&lt;i&gt;", "&lt;u&gt;", "&lt;s&gt;"):
        assert text in page
