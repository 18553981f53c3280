"""A folder that is killed again and again holds in the end what it would have held at once."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.inference.doomed import End, end_again_and_again
from tests.inference.synthetic import predict
from tests.inference.test_record import make_scan

_KILLS = 20
_ALL = ("--statistics", "--preview", "--uncertainty", "--split")


def _contents(out: Path) -> dict[str, bytes]:
    """All files but the record, which has times in it."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != "predict.json"
    }


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_twenty_kills_the_same_bytes(model: Path, tmp_path: Path) -> None:
    """Each run dies at one of its first files, whichever that is, half-written or just in place."""
    images, out = tmp_path / "scans", tmp_path / "out"
    for number in range(8):
        make_scan(images / f"s{number}.nii.gz", number)
    assert predict(images, tmp_path / "alone", model, options=_ALL) == 0
    random = np.random.default_rng(0)
    ends = [
        End("", count=int(random.integers(2, 7)), placed=bool(kill % 2)) for kill in range(_KILLS)
    ]
    codes = end_again_and_again(images, out, model, *_ALL, ends=ends)
    assert codes == [-signal.SIGKILL] * _KILLS
    assert predict(images, out, model, options=_ALL) == 0
    assert _contents(out) == _contents(tmp_path / "alone")
