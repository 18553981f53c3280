"""Archives as `torch.save` writes them, with what it would never write in them."""

import struct
import zipfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch


def read_content(path: Path) -> dict[str, Any]:
    """All that is in a checkpoint file, for a test to change."""
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def repack(content: bytes, path: Path, compression: int = zipfile.ZIP_STORED, **changes: bytes):
    """Write an archive's members anew, with right checksums; `changes` replaces some of them."""
    with (
        zipfile.ZipFile(BytesIO(content)) as old,
        zipfile.ZipFile(path, "w", compression) as new,
    ):
        for member in old.infolist():
            short = member.filename.partition("/")[2]
            new.writestr(member.filename, changes.get(short, old.read(member)))


def pack(path: Path, structure: bytes, members: Mapping[str, bytes] | None = None) -> Path:
    """An archive around a pickle of one's own."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", structure)
        file.writestr("archive/byteorder", "little")
        file.writestr("archive/version", "3\n")
        for name, content in (members or {}).items():
            file.writestr(f"archive/{name}", content)
    return path


def tensor(
    elements: int, size: Iterable[int], stride: Iterable[int], offset: int = 0, key: str = "0"
) -> bytes:
    """The pickle of a float32 tensor that says this of itself."""

    def number(value: int) -> bytes:
        return b"\x8a\x08" + struct.pack("<q", value)

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def numbers(values: Iterable[int]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu")
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
        + (storage + number(elements) + b"tQ" + number(offset))
        + (numbers(size) + numbers(stride) + hooks + b"tR.")
    )


def state_dict(name: str, pickled: bytes) -> bytes:
    """The pickle of a dictionary that holds what another pickle makes."""
    inner = pickled.removeprefix(b"\x80\x02").removesuffix(b".")
    return b"\x80\x02}X" + struct.pack("<I", len(name)) + name.encode() + inner + b"s."


def numpy_scalar(code: str, raw: str, state: bytes = b"(K\x03X\x01\x00\x00\x00<NNNtb") -> bytes:
    """The pickle of a numpy number; `state` is what its type is built with."""
    encoded = raw.encode("utf-8")
    return (
        b"\x80\x02cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\nX"
        + struct.pack("<I", len(code))
        + (code.encode() + b"\x89\x88\x87R" + state)
        + (b"c_codecs\nencode\nX" + struct.pack("<I", len(encoded)) + encoded)
        + b"X\x06\x00\x00\x00latin1\x86R\x86R."
    )
