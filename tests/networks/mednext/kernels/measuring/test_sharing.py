"""Processes that train together take what rank 0 has chosen."""

import json
import multiprocessing

import pytest
from torch import distributed

from mednext_cli.networks.mednext.kernels.measuring.sharing import shared
from tests.networks.mednext.kernels.measuring.test_cache import CHOICES


def _choose(rank, folder):
    (folder / f"{rank}.chose").touch()
    return CHOICES


def _run(rank, folder, devices):
    store = distributed.FileStore(str(folder / "store"), len(devices))
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=len(devices))
    found = shared(lambda: _choose(rank, folder), devices[rank])
    (folder / f"{rank}.json").write_text(json.dumps(found and found.model_dump(mode="json")))
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "expected"),
    [(("one", "one"), CHOICES.model_dump(mode="json")), (("one", "other"), None)],
)
def test_every_rank_gets_what_rank_0_chose(tmp_path, devices, expected):
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=_run, args=(rank, tmp_path, devices)) for rank in range(2)]
    for one in ranks:
        one.start()
    for one in ranks:
        one.join(300)
        one.kill()
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [
        expected,
        expected,
    ]
    assert [path.name for path in tmp_path.glob("*.chose")] == ["0.chose"] * (expected is not None)


def test_alone_it_is_what_is_chosen():
    assert shared(lambda: CHOICES, "one") == CHOICES
    assert shared(lambda: None, "one") is None
