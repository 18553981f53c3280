"""`--engine auto`: the engine that was measured fastest, where measuring can pay."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mednext_cli.app import main
from mednext_cli.foundation.errors import StorageError
from mednext_cli.foundation.plugins import find_plugins
from mednext_cli.inference import engine_choice
from mednext_cli.inference.engine import EngineOptions
from mednext_cli.inference.engine_choice import EngineChoice, choose_engine, tiles_of
from mednext_cli.inference.models import Model, load_models
from mednext_cli.inference.record_file import read_record
from tests.inference.test_engines import PLUGIN_PACKAGES

CPU = EngineOptions(torch.device("cpu"))
MANY = 100_000


class Machine:
    """Engines whose seconds are given, and a clock that they move.

    Attributes:
        seconds: of a tile by engine; one that is not here cannot run the network.
        starts: seconds until an engine takes tiles.
        offsets: added to what an engine computes.
        built: engines in the order in which they were made.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.seconds: dict[str, float] = {}
        self.starts: dict[str, float] = {}
        self.offsets: dict[str, float] = {}
        self.built: list[str] = []

    def build(self, name: str, *_: object) -> Callable[[Tensor], Tensor]:
        self.built.append(name)
        if name not in self.seconds:
            raise RuntimeError("no such operator")
        self.now += self.starts.get(name, 0.0)

        def run(images: Tensor) -> Tensor:
            self.now += self.seconds[name]
            return images.expand(-1, 3, -1, -1, -1) + self.offsets.get(name, 0.0)

        return run


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """With torch and openvino, and a cache of its own."""
    machine = Machine()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(engine_choice, "build_engine", machine.build)
    monkeypatch.setattr(engine_choice.time, "perf_counter", lambda: machine.now)
    install(monkeypatch, "openvino")
    return machine


def install(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    found = dict.fromkeys(packages, True)
    monkeypatch.setattr(engine_choice, "find_spec", found.get)


@pytest.fixture
def one(model: Path) -> Model:
    return load_models([model])[0]


def choose(one: Model, tiles: int | None, options: EngineOptions = CPU) -> EngineChoice:
    return choose_engine("auto", [one], options, None if tiles is None else lambda _: tiles)


def test_the_fastest_is_taken_and_measured_once(one: Model, machine: Machine) -> None:
    machine.seconds = {"torch": 0.1, "openvino": 0.05}
    expected = EngineChoice("openvino", {"torch": 100.0, "openvino": 50.0})
    assert choose(one, MANY) == expected
    built = list(machine.built)
    assert set(built) == {"torch", "openvino"}
    assert choose(one, MANY) == expected
    assert choose(one, None) == expected
    assert machine.built == built


def test_what_is_asked_for_is_taken(one: Model, machine: Machine) -> None:
    for name in ("torch", "openvino", "mine"):
        assert choose_engine(name, [one], CPU, lambda _: MANY) == EngineChoice(name)
    assert machine.built == []


@pytest.mark.parametrize(
    ("options", "packages"),
    [
        (CPU, ()),
        (CPU, ("onnx", "onnxruntime")),
        (EngineOptions(torch.device("meta")), ("openvino",)),
        (EngineOptions(torch.device("cpu"), operators="stock"), ("openvino",)),
        (
            EngineOptions(torch.device("cpu"), precision="bfloat16"),
            ("onnx", "onnxruntime", "onnxscript"),
        ),
    ],
)
def test_torch_where_no_other_can_do_it(
    one: Model,
    machine: Machine,
    options: EngineOptions,
    packages: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, *packages)
    assert choose(one, MANY, options) == EngineChoice("torch")
    assert machine.built == []


def test_little_is_not_worth_measuring(one: Model, machine: Machine) -> None:
    machine.seconds = {"torch": 0.001, "openvino": 0.0001}
    for tiles in (0, 1, 64, None):
        assert choose(one, tiles) == EngineChoice("torch")
    assert machine.built == []
    # More, but torch is too fast for it to matter: known once a tile of torch was timed.
    assert choose(one, 10_000) == EngineChoice("torch", {"torch": 1.0})
    assert machine.built == ["torch"]
    assert choose(one, 10_000) == EngineChoice("torch", {"torch": 1.0})
    assert machine.built == ["torch"]


def test_noise_does_not_decide(one: Model, machine: Machine) -> None:
    machine.seconds = {"torch": 0.1, "openvino": 0.095}
    assert choose(one, MANY).name == "torch"


def test_the_start_counts(one: Model, machine: Machine) -> None:
    machine.seconds = {"torch": 0.1, "openvino": 0.05}
    machine.starts = {"openvino": 1000.0}
    assert choose(one, 10_000).name == "torch"
    built = list(machine.built)
    assert choose(one, MANY).name == "openvino"
    assert machine.built == built


def test_all_networks_count(one: Model, machine: Machine) -> None:
    machine.seconds = {"torch": 0.1, "openvino": 0.05}
    machine.starts = {"openvino": 300.0}
    assert choose(one, 10_000).name == "openvino"
    tiles = iter((10_000, 100))  # for the second network the start is not worth it
    chosen = choose_engine("auto", [one, one], CPU, lambda _: next(tiles))
    assert chosen.name == "torch"


@pytest.mark.parametrize("fault", ["fails", "computes something else"])
def test_an_engine_that_cannot_is_left_alone(
    one: Model, machine: Machine, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    machine.seconds = {"torch": 0.1, "openvino": 0.05}
    if fault == "fails":
        del machine.seconds["openvino"]
    machine.offsets = {"openvino": 1.0}
    assert choose(one, MANY) == EngineChoice("torch", {"torch": 100.0})
    assert "the engine openvino c" in caplog.text
    built = list(machine.built)
    assert choose(one, MANY).name == "torch"
    assert machine.built == built


@pytest.mark.parametrize("error", [MemoryError(), StorageError("no space", ""), OSError("full")])
def test_an_engine_that_lacked_memory_or_space_is_tried_again(
    one: Model, machine: Machine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    machine.seconds = {"torch": 1.0, "openvino": 0.5}

    def fail(name: str, *given: object) -> Callable[[Tensor], Tensor]:
        if name == "openvino":
            raise error
        return machine.build(name, *given)

    with monkeypatch.context() as patch:
        patch.setattr(engine_choice, "build_engine", fail)
        assert choose(one, MANY).name == "torch"
    assert choose(one, MANY).name == "openvino"


def test_less_precise_engines_may_differ_more(one: Model, machine: Machine) -> None:
    machine.seconds, machine.offsets = {"torch": 0.1, "openvino": 0.05}, {"openvino": 0.05}
    reduced = EngineOptions(torch.device("cpu"), precision="bfloat16")
    assert choose(one, MANY, reduced).name == "openvino"
    assert choose(one, MANY).name == "torch"


def test_what_is_kept_may_be_damaged(one: Model, machine: Machine, tmp_path: Path) -> None:
    machine.seconds = {"torch": 0.1, "openvino": 0.05}
    assert choose(one, MANY).name == "openvino"
    [path] = (tmp_path / "cache").rglob("*.json")
    content = json.loads(path.read_text())
    for damaged in (
        "",
        "[]",
        json.dumps(content | {"key": {}}),
        json.dumps(content | {"paces": {"torch": {"tile_seconds": "fast"}}}),
    ):
        path.write_text(damaged)
        machine.built.clear()
        assert choose(one, MANY).name == "openvino"
        assert "openvino" in machine.built


def test_torch_where_nothing_can_be_kept(
    one: Model, machine: Machine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else processes that share a folder would each measure, and might disagree."""
    machine.seconds = {"torch": 0.1, "openvino": 0.05}
    (tmp_path / "cache").write_text("a file where the folder would be")
    assert choose(one, MANY) == EngineChoice("torch")
    assert "cannot be kept" in caplog.text


def test_tiles_are_counted_with_mirrorings(one: Model) -> None:
    """Of 16 x 32 x 16, a half apart, mirrored left to right."""
    assert tiles_of(one, [(16, 32, 16), (8, 8, 8)]) == 2
    mirrored = one.asked(overlap=0.5, mirror=True)
    assert tiles_of(mirrored, [(32, 32, 16)]) == 3 * 2


def test_a_folder_goes_on_with_the_engine_it_was_begun_with(
    scans: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN_PACKAGES / "good"))
    find_plugins.cache_clear()
    out = tmp_path / "out"
    command = ["predict", str(scans), "--model", str(model), "--out", str(out), "--device", "cpu"]

    def engine() -> str:
        return json.loads((out / "predict.json").read_text())["provenance"]["engine"]

    assert main([*command, "--engine", "plain", "--cases", "oblique"]) == 0
    assert main([*command, "--cases", "swapped"]) == 0
    assert engine() == "plain"
    assert main([*command, "--cases", "swapped", "--engine", "torch"]) == 2
    assert "holds predictions made with other engine" in capsys.readouterr().err
    assert main([*command, "--cases", "oblique,swapped", "--force"]) == 0
    assert engine() == "torch"
    find_plugins.cache_clear()


def test_what_another_process_began_meanwhile_is_carried_on(
    scans: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began the folder while this one measured, and chose otherwise."""
    out = tmp_path / "out"
    command = ["predict", str(scans), "--model", str(model), "--out", str(out), "--device", "cpu"]

    def measure(name: str, *_: object) -> EngineChoice:
        if name != "auto":
            return EngineChoice(name)
        assert main([*command, "--engine", "torch", "--cases", "oblique"]) == 0
        return EngineChoice("openvino")

    monkeypatch.setattr("mednext_cli.inference.predict.choose_engine", measure)
    assert main([*command, "--cases", "swapped"]) == 0
    assert json.loads((out / "predict.json").read_text())["provenance"]["engine"] == "torch"


def test_a_folder_begun_by_an_engine_of_the_cpu_asks_for_it_elsewhere(
    scans: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = read_record(tmp_path)
    record.exists, record.settings = True, {"engine": "openvino"}
    monkeypatch.setattr("mednext_cli.inference.predict.read_record", lambda _: record)
    monkeypatch.setattr("mednext_cli.inference.predict.pick_device", lambda _: torch.device("cuda"))
    command = ["predict", str(scans), "--model", str(model), "--out", str(tmp_path / "out")]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "begun with the engine openvino, which computes on the CPU. Add --device cpu" in said


def test_the_choice_is_told(
    scans: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = EngineChoice("torch", {"torch": 12.5, "openvino": 20.0})
    monkeypatch.setattr("mednext_cli.inference.predict.choose_engine", lambda *_: told)
    out = tmp_path / "out"
    command = ["predict", str(scans / "oblique.nii.gz"), "--model", str(model), "--out", str(out)]
    assert main([*command, "--device", "cpu"]) == 0
    provenance = json.loads((out / "predict.json").read_text())["provenance"]
    assert provenance["engine_milliseconds"] == {"torch": 12.5, "openvino": 20.0}
    assert main([*command, "--device", "cpu", "--force"]) == 0
