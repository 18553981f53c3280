"""Memory that is not enough, wherever and however it is said: one line, and what would fit."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from mednext_cli.app import main
from mednext_cli.foundation.errors import MednextError, SettingsError
from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.networks.registry import find_family
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.training import cuda_graph, data, loop, patch_validation, sampling, train
from mednext_cli.training.memory import Demand, check_memory, explained_memory
from tests.networks.made import mednext
from tests.training.synthetic import arguments, run_folder

Captured = pytest.CaptureFixture[str]


def _fail(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def _stuck_batches(*_: Any) -> Iterator[tuple[Any, Any]]:
    """A batch that has no room on the device."""
    batch = SimpleNamespace(to=_fail(RuntimeError("CUDA error: out of memory")))
    yield batch, batch


def _demand(**changes: Any) -> Demand:
    settings: dict[str, Any] = {
        "network": mednext("S", 3, 1, 3, base_channels=8),
        "patch_voxels": (64, 64, 64),
        "batch_size": 2,
        "checkpointing": False,
        "dtype": torch.float32,
        "device": torch.device("cpu"),
    }
    return Demand(**(settings | changes))


@pytest.mark.slow
def test_the_line_says_what_a_step_takes_and_what_would_fit() -> None:
    too_little = pytest.raises(MednextError, match="cpu has too little memory for a test; a step")
    with too_little as found, explained_memory(_demand(), "a test"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    assert "GiB" in str(found.value)
    assert "--set model.checkpointing=true (about" in str(found.value)


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(ZeroDivisionError), explained_memory(_demand(), "a test"):
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="mat1"), explained_memory(_demand(), "a test"):
        raise RuntimeError("mat1 and mat2 shapes")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "name", "doing"),
    [
        (nn.Module, "to", "the network"),
        (cuda_graph, "update", "training"),
        (loop, "score_patches", "training"),
        (patch_validation, "run_all_heads", "training"),
        (data, "iterate_batches", "training"),
        (train, "validate_fold", "the validation of whole cases"),
    ],
    ids=["network.to", "step", "patch validation", "its network", "transfer", "final validation"],
)
def test_every_place_says_it(
    boxes: Path,
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    name: str,
    doing: str,
) -> None:
    fail = _fail(RuntimeError("CUDNN_STATUS_ALLOC_FAILED"))
    monkeypatch.setattr(where, name, _stuck_batches if name == "iterate_batches" else fail)
    settings = ("training.epochs=1", "training.iterations_per_epoch=1")
    assert main(arguments(boxes, tmp_path, settings=settings)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"cpu has too little memory for {doing}" in error
    assert "Use --set model.checkpointing=true" in error


@pytest.mark.slow
def test_a_validation_that_does_not_fit_loses_no_step(
    boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "validate_fold", lambda *_: {})
    settings = ("training.epochs=1", "training.iterations_per_epoch=2")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "score_patches", _fail(MemoryError()))
        assert main(arguments(boxes, tmp_path, settings=settings)) == 2
    steps: list[int] = []
    original = cuda_graph.update
    monkeypatch.setattr(cuda_graph, "update", lambda *given: steps.append(1) or original(*given))
    assert main(arguments(boxes, tmp_path, settings=settings)) == 0
    assert not steps
    assert (run_folder(tmp_path) / "log.csv").is_file()


def test_a_batch_that_does_not_fit_says_so(
    boxes: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling.PatchDataset, "batch", _fail(MemoryError()))
    assert main(arguments(boxes, tmp_path)) == 2
    assert "too little memory to prepare batches" in capsys.readouterr().err


@pytest.mark.slow
def test_only_what_fits_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [0.0]
    monkeypatch.setattr(
        "mednext_cli.training.memory.free_memory_bytes", lambda: int(free[0] * 2**30)
    )
    whole = _demand()
    checkpointed = _demand(checkpointing=True)
    single = _demand(checkpointing=True, batch_size=1)
    assert whole.step_gib is not None
    assert checkpointed.step_gib is not None
    assert single.step_gib is not None
    for size, proposed in (
        (
            checkpointed.step_gib,
            ["--set model.checkpointing=true (", "--set training.batch_size=1"],
        ),
        (
            single.step_gib,
            ["--set training.batch_size=1 (", "'training.patch_voxels=[32, 32, 32]'"],
        ),
        (0.0, ["smaller training.patch_voxels", "--recipe cpu"]),
    ):
        free[0] = size / 0.89
        with pytest.raises(Exception, match="GiB are free") as found:
            check_memory(whole)
        assert all(one in str(found.value) for one in proposed)
    assert "checkpointing" not in str(found.value)
    free[0] = whole.step_gib * 1.01
    check_memory(whole)


@pytest.mark.slow
def test_a_network_that_takes_one_patch_is_not_told_to_take_a_smaller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mednext_cli.training.memory.free_memory_bytes", lambda: 0)
    family = find_family("nnformer")
    settings = family.Settings()
    patch = family.fixed_patch(settings)
    assert patch is not None
    network = NetworkSpec("nnformer", settings, 1, 3, deep_supervision=False)
    with pytest.raises(SettingsError, match="Use more memory; ") as found:
        check_memory(_demand(network=network, patch_voxels=patch))
    assert "patch_voxels" not in str(found.value)
    assert "--recipe cpu" not in str(found.value)  # that would be another network


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["model.mednext.size=S"], False),
        (["model.mednext.size=B"], False),
        (["model.mednext.size=M"], True),
        (["model.mednext.size=L"], True),
        (["model.mednext.size=L", "model.checkpointing=false"], False),
        (["model.mednext.size=S", "model.checkpointing=true"], True),
    ],
)
def test_checkpointing_is_as_published_unless_said(settings: list[str], expected: bool) -> None:
    assert choose_network(load_recipe("cpu", settings).model).checkpointing is expected


@pytest.mark.slow
@pytest.mark.parametrize(("options", "expected"), [((), True), (("false",), False)])
def test_model_m_trains_with_checkpointing(
    boxes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    expected: bool,
) -> None:
    seen: list[bool] = []

    def look(state: Any, *_: Any) -> Any:
        seen.append(state.network.checkpointing)
        raise KeyboardInterrupt

    monkeypatch.setattr(cuda_graph, "update", look)
    settings = ("model.mednext.base_channels=2", *(f"model.checkpointing={one}" for one in options))
    assert main(arguments(boxes, tmp_path, "--model", "M", settings=settings)) == 130
    assert seen == [expected]
    written = (run_folder(tmp_path, model="M-k3-w2") / "recipe.toml").read_text()
    assert ("checkpointing = false" if options else 'checkpointing = "auto"') in written


def test_any_command_says_it(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a small ulimit not even the packages can be loaded."""
    monkeypatch.setattr("mednext_cli.settings.recipe_files.find_recipes", _fail(MemoryError()))
    assert main(["recipes", "ls"]) == 2
    error = capsys.readouterr().err
    assert "there is too little memory" in error
    assert "ulimit" in error
