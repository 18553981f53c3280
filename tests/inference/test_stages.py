"""Who is told of a prediction's stages."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.progress import track
from mednext_cli.inference.average import build_average
from mednext_cli.inference.engine import EngineOptions
from mednext_cli.inference.label_maps import write_labels
from mednext_cli.inference.models import load_models
from mednext_cli.inference.openvino_engine import OpenVinoEngine
from mednext_cli.inference.pipeline import Pipeline
from mednext_cli.inference.progress import TileCount
from mednext_cli.inference.sources import find_cases
from mednext_cli.inference.stages import STAGES


class _Store:
    """Writes label maps; says so."""

    def __init__(self, folder: Path, plan, observe) -> None:
        self._folder, self._plan, self._observe = folder, plan, observe

    def before_reading(self, case) -> None:
        """Nothing."""

    def sink(self, case, geometry, axes) -> None:
        """Nothing."""

    def write(self, predicted) -> None:
        write_labels(self._folder / "map.nii.gz", predicted, self._plan, self._observe)


def test_an_observer_is_told_of_every_stage_in_order(model, scans, tmp_path) -> None:
    told: list[str] = []

    @contextmanager
    def observe(stage: str) -> Iterator[None]:
        told.append(stage)
        yield
        told.append(f"{stage} over")

    networks = build_average(load_models([model]), "torch", EngineOptions(torch.device("cpu")))
    store = _Store(tmp_path, networks.plan, observe)
    cases = find_cases(scans / "oblique.nii.gz", networks.plan)
    pipeline = Pipeline(networks, store, 0, observe=observe)
    with track("predicting", 1) as bar:
        outcomes = list(pipeline.run(cases, TileCount(bar, {cases[0].id: 0})))
    assert [outcome.error for outcome in outcomes] == [None]
    assert list(dict.fromkeys(told)) == [
        text for stage in STAGES for text in (stage, f"{stage} over")
    ]
    assert all(end == f"{begin} over" for begin, end in zip(told[::2], told[1::2], strict=True))
    assert told.count("network") > 1
    assert (tmp_path / "map.nii.gz").exists()


def test_openvino_has_no_float16_on_the_cpu(model) -> None:
    pytest.importorskip("openvino")
    loaded = load_models([model])[0]
    options = EngineOptions(torch.device("cpu"), precision="float16")
    with pytest.raises(SettingsError, match="float16 does not work on the CPU"):
        OpenVinoEngine(loaded.checkpoint, loaded.plan, options)
