"""`mednext datasets verify --cache`: every flipped byte is found and its case named."""

from pathlib import Path

import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.cache.columns import VERIFIED_CACHE
from tests.preprocessing.synthetic import cache_of, make_raw, run

Capture = pytest.CaptureFixture[str]


def verify(cache: Path, *options: str) -> int:
    return main(
        ["datasets", "verify", "--cache", str(cache), "--workers", "0", "--quiet", *options]
    )


def test_a_flipped_byte_is_found_wherever_it_is(tmp_path: Path, capsys: Capture) -> None:
    raw = make_raw(tmp_path)
    assert run(raw) == 0
    assert verify(raw.parent / "cache") == 0
    path = cache_of(raw) / "case_1.h5"
    content = path.read_bytes()
    places = np.random.default_rng(0).integers(0, len(content), 25).tolist()
    for place in (*places, len(content) - 1, len(content) - 45):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        capsys.readouterr()
        assert verify(cache_of(raw)) == 2, place
        err = capsys.readouterr().err
        assert "case_1.h5" in err
        assert "1 of 3 cases failed: Task90_Blobs/case_1" in err
    path.write_bytes(content)
    assert verify(raw.parent / "cache", "--out", str(tmp_path)) == 0
    written = (tmp_path / "verify.csv").read_text()
    assert written.count("case_") == 3
    assert written.startswith(",".join(VERIFIED_CACHE.names) + "\n")
    path.unlink()
    assert verify(cache_of(raw)) == 2
    assert "case_1.h5 does not exist" in capsys.readouterr().err


def test_what_is_to_be_verified_must_be_clear(tmp_path: Path, capsys: Capture) -> None:
    assert main(["datasets", "verify"]) == 2
    assert main(["datasets", "verify", str(tmp_path)]) == 2
    assert verify(tmp_path) == 2
    assert "holds no cache" in capsys.readouterr().err
