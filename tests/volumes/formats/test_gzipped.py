"""Bytes of a gzip: the same as zlib's, whatever the spans, the header and the members."""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mednext_cli.volumes.formats import gzipped
from mednext_cli.volumes.formats.gzipped import (
    DamagedGzipError,
    read_spans,
    read_start,
    write_bytes,
)

SMOOTH = np.cumsum(np.random.default_rng(0).integers(-1, 2, 3_000_000), dtype=np.int16).tobytes()
CONTENT = {"smooth": SMOOTH, "zeros": bytes(5_000_000), "short": b"abc" * 100}


def spans_of(path: Path, spans: Sequence[tuple[int, int]], end: int) -> list[bytes]:
    return [span.tobytes() for span in read_spans(path, spans, end)]


@pytest.mark.parametrize("kind", CONTENT)
@pytest.mark.parametrize("packed", [False, True])
def test_spans_of_any_order(tmp_path: Path, kind: str, packed: bool) -> None:
    whole, path = CONTENT[kind], tmp_path / "a"
    path.write_bytes(gzip.compress(whole, 6) if packed else whole)
    rng = np.random.default_rng(1)
    bounds = np.sort(rng.integers(0, len(whole), (5, 2)), axis=1).tolist()
    spans = [(first, last - first + 1) for first, last in bounds]
    wanted = [whole[start : start + count] for start, count in spans]
    assert spans_of(path, spans, len(whole)) == wanted
    assert spans_of(path, sorted(spans), len(whole)) == [
        whole[start : start + count] for start, count in sorted(spans)
    ]


def test_headers_with_name_comment_and_more(tmp_path: Path) -> None:
    """RFC 1952: FEXTRA, FNAME, FCOMMENT and FHCRC, all at once and long."""
    header = bytes([0x1F, 0x8B, 8, 2 | 4 | 8 | 16, 1, 2, 3, 4, 0, 3])
    header += (3000).to_bytes(2, "little") + b"x" * 3000 + b"name.nii\0" + b"comment" * 500 + b"\0"
    header += (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little")
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = packer.compress(SMOOTH) + packer.flush()
    ending = zlib.crc32(SMOOTH).to_bytes(4, "little") + len(SMOOTH).to_bytes(4, "little")
    path = tmp_path / "a"
    path.write_bytes(header + body + ending)
    assert read_start(path, 1000) == SMOOTH[:1000]
    assert spans_of(path, [(0, len(SMOOTH))], len(SMOOTH)) == [SMOOTH]


@pytest.mark.parametrize("where", ["body", "checksum", "length", "cut", "cut before its end"])
def test_damage_is_noticed_with_the_last_span(tmp_path: Path, where: str) -> None:
    packed = bytearray(gzip.compress(SMOOTH, 1))
    at = {"body": len(packed) // 2, "checksum": -6, "length": -2}.get(where)
    if at is not None:
        packed[at] ^= 0x55
    path = tmp_path / "a"
    path.write_bytes(packed[: {"cut": -100_000, "cut before its end": -4}.get(where)])
    with pytest.raises((DamagedGzipError, EOFError)):
        spans_of(path, [(0, 100), (200, 300)], len(SMOOTH))


def test_ascending_spans_are_inflated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, given = tmp_path / "a", []
    path.write_bytes(gzip.compress(SMOOTH, 1))
    pieces = gzipped._Inflater.pieces

    def counted(self: gzipped._Inflater, count: int):
        for piece in pieces(self, count):
            given.append(len(piece))
            yield piece

    monkeypatch.setattr(gzipped._Inflater, "pieces", counted)
    quarter = len(SMOOTH) // 4
    spans_of(path, [(part * quarter, quarter) for part in range(4)], len(SMOOTH))
    assert sum(given) == len(SMOOTH)


def test_what_is_written_depends_on_the_bytes_alone(tmp_path: Path) -> None:
    label = np.zeros((64, 256, 256), np.uint8)
    label[20:40, 100:180, 60:200], label[30:35, 120:140, 90:150] = 1, 2
    whole = label.tobytes()
    for name, packed in (("a.nii.gz", True), ("b.nii.gz", True), ("c.nii", False)):
        write_bytes(tmp_path / name, (plane.tobytes() for plane in label), packed=packed)
    first = (tmp_path / "a.nii.gz").read_bytes()
    assert first == (tmp_path / "b.nii.gz").read_bytes()
    assert first[3:8] == bytes(5)  # neither a name nor a time
    assert gzip.decompress(first) == whole == (tmp_path / "c.nii").read_bytes()
    assert len(first) < 1.1 * len(gzip.compress(whole, 1))
