"""What is odd about label maps that can be scored is said once, in few lines."""

from pathlib import Path

import numpy as np
import pytest

from mednext_cli.app import main
from tests.evaluation.conftest import boxes


def test_rounding_of_many_label_maps_takes_four_lines(tmp_path, write_labels, capsys):
    nearly = np.nextafter(boxes().astype(np.float32), np.float32(0))  # 0.99999994
    for folder in ("labels", "predictions"):
        for index in range(6):
            write_labels(tmp_path / folder / f"case_{index}.nii.gz", nearly)
    folders = [str(tmp_path / name) for name in ("predictions", "labels")]
    assert main(["evaluate", *folders, "--workers", "0", "-q"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4
    assert said[0].startswith("warning: case_0: case_0.nii.gz: values up to 1.2e-07 beside a whole")
    assert said[3] == "warning: 3 more lines like that, of 3 cases"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that even root cannot fill")
def test_a_folder_that_takes_no_files_is_refused_before_the_work(folders, capsys):
    assert main(["evaluate", *map(str, folders), "--workers", "0", "--out", "/proc"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("error: /proc cannot be written")
