"""Every text that somebody wrote is read, whichever editor put a mark before it."""

import ast
import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mednext_cli.app import main
from mednext_cli.datasets.options import read_structures
from mednext_cli.evaluation.scoring.label_mapping import read_mapping
from mednext_cli.foundation.errors import DatasetError, MednextError, SettingsError
from mednext_cli.foundation.files import listed_names, read_json, read_text, read_toml, replacing
from mednext_cli.inference.sources import read_ids
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.training.splits import read_split
from tests.contracts.conftest import ROOT, python_files

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]
Write = Callable[[str], Path]


@pytest.fixture(params=ENCODINGS)
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    """Writes a text in one of the encodings, with lines as Windows ends them."""

    def _write(text: str) -> Path:
        path = tmp_path / "written.toml"
        path.write_bytes(text.replace("\n", "\r\n").encode(request.param))
        return path

    return _write


def test_a_text(write: Write) -> None:
    assert read_text(write("Müller\nnext\n")) == "Müller\nnext\n"


def test_utf_16_without_hints_of_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "written.toml"
    for order in ("be", "le"):
        path.write_bytes("\ufeffä".encode(f"utf-16-{order}"))
        assert read_text(path) == "ä"


def test_a_recipe(write: Write) -> None:
    path = write("[training]\nepochs = 3\n")
    assert load_recipe(str(path)).training.epochs == 3
    assert main(["recipes", "show", str(path)]) == 0


def test_a_splits_file(write: Write) -> None:
    path = write('[{"train": ["a"], "val": ["b"]}]')
    assert read_split(path, 0, ["a", "b"]).validation == ("b",)


def test_lists_of_names(write: Write) -> None:
    path = str(write("liver\n\nspleen\n"))
    assert read_structures(path) == read_ids(path) == listed_names(path) == ("liver", "spleen")


def test_a_label_mapping(write: Write) -> None:
    assert read_mapping(str(write("[labels]\n2 = 1\n"))) == {2: 1}


def test_a_table_of_scores(write: Write, tmp_path: Path) -> None:
    path = write("case,region,dice\na,liver,0.5\nb,liver,0.75\n")
    call = ["leaderboard", f"one={path}", f"two={path}", "--metric", "dice"]
    assert main([*call, "--out", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "leaderboard.csv").open() as stream:
        assert {row["method"] for row in csv.DictReader(stream)} == {"one", "two"}


@pytest.mark.parametrize(
    "content",
    [
        b"caf\xe9 = 1",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"a = " + b"[" * 200_000,
        b"9" * 10_000,
        b"a = " + b"9" * 10_000,
        b"\xff\xfe\x00",
        b"\x00" * 20,
        b"",
    ],
)
@pytest.mark.parametrize("read", [read_json, read_toml])
def test_what_is_no_such_text(
    tmp_path: Path, read: Callable[[Path], object], content: bytes
) -> None:
    path = tmp_path / "written.toml"
    path.write_bytes(content)
    if read is read_toml and not content:
        assert read(path) == {}
        return
    with pytest.raises(MednextError, match="written"):
        read(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_text(tmp_path / "gone")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_text(tmp_path, SettingsError)
    assert listed_names("a," + "b" * 5000) == ("a", "b" * 5000)
    (tmp_path / "ids").write_bytes(b"caf\xe9")
    with pytest.raises(SettingsError, match="Save it as UTF-8"):
        read_ids(str(tmp_path / "ids"))


def test_names_are_compared_in_composed_form(tmp_path: Path) -> None:
    composed, apart = "m\u00fcller", "mu\u0308ller"
    assert listed_names(f"{apart},x") == (composed, "x")
    path = tmp_path / "splits.json"
    path.write_text(json.dumps([{"train": [apart], "val": []}]))
    assert read_split(path, 0, [composed]).training == (composed,)


def test_the_longest_name_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / f"{'ü' * 120}.nii.gz"
    with replacing(path) as beside:
        assert beside.name.endswith(".nii.gz")
        beside.write_text("x")
    assert path.read_text() == "x"


def test_texts_are_read_in_one_place() -> None:
    """Whoever reads a text another way forgets the byte order mark."""
    ours = {"files.py", "control_groups.py", "plugin_check.py", "processor.py"}  # texts of no user
    ours |= {"derive.py", "variants.py"}  # tables that we wrote, our own CUDA C++
    found = [
        f"{path.name}:{node.lineno}"
        for path in python_files("mednext_cli")
        if path.name not in ours
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr == "read_text" or ast.unparse(node.func) in ("json.load", "tomllib.load")
    ]
    templates = [name for name in found if name.startswith("page.py")]
    assert found == templates
