"""Choices that are kept for the user: whole or not there, one machine's and one driver's."""

import multiprocessing
import os
import time

import pytest

from mednext_cli.networks.mednext.kernels.measuring import cache
from mednext_cli.networks.mednext.kernels.measuring.choices import Choices

KEY = {"device": "a GPU", "driver": "1.0", "kernels": "abc"}
CHOICES = Choices(
    device="a GPU",
    layout="channels_last",
    benchmark=False,
    threads=None,
    blocks={"bottleneck.0": {"way": "triton:wide", "width": 8}},
)


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))


def _never():
    raise AssertionError("nothing is to be measured")


def test_what_was_measured_is_not_measured_again():
    assert cache.load(KEY) is None
    assert cache.load_or(KEY, lambda: CHOICES) == CHOICES
    assert cache.load_or(KEY, _never) == CHOICES
    assert cache.load(KEY) == CHOICES


def test_another_driver_is_measured_by_itself():
    cache.load_or(KEY, lambda: CHOICES)
    newer = {**KEY, "driver": "1.1"}
    assert cache.load(newer) is None
    other = CHOICES.model_copy(update={"benchmark": True})
    assert cache.load_or(newer, lambda: other) == other
    assert cache.load(KEY) == CHOICES


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"key": {}}', '{"key": KEY, "choices": {"device": "a GPU"}}'],
)
def test_a_damaged_file_is_measured_anew(content):
    cache.load_or(KEY, lambda: CHOICES)
    [file] = cache.cache_folder(KEY).glob("*.json")
    file.write_text(
        content.replace("KEY", '{"device": "a GPU", "driver": "1.0", "kernels": "abc"}')
    )
    assert cache.load(KEY) is None
    assert cache.load_or(KEY, lambda: CHOICES) == cache.load(KEY) == CHOICES


def test_ways_and_tiles_that_are_not_known_are_not_taken():
    cache.load_or(KEY, lambda: CHOICES)
    [file] = cache.cache_folder(KEY).glob("*.json")
    whole = file.read_text()
    for way in ("triton:unheard_of", "magic", "triton:"):
        file.write_text(whole.replace("triton:wide", way))
        assert cache.load(KEY) is None


def test_what_could_not_be_measured_is_tried_again():
    assert cache.load_or(KEY, lambda: None) is None
    assert cache.load_or(KEY, lambda: CHOICES) == CHOICES


def test_asked_anew_it_is_measured_again():
    cache.load_or(KEY, lambda: CHOICES)
    other = CHOICES.model_copy(update={"benchmark": True})
    assert cache.load_or(KEY, lambda: other, anew=True) == cache.load(KEY) == other


def test_a_home_that_cannot_be_written_only_costs_the_next_measurement(
    monkeypatch, tmp_path, caplog
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        assert cache.load_or(KEY, lambda: CHOICES) == CHOICES
    assert "what is measured is not kept" in caplog.text
    assert not cache.exists()


def _measure_slowly(folder):
    with (folder / "measured").open("a") as file:
        file.write("once\n")
    time.sleep(0.3)
    return CHOICES


def _one_of_two(folder, home):
    os.environ["XDG_CACHE_HOME"] = str(home)
    found = cache.load_or(KEY, lambda: _measure_slowly(folder))
    (folder / f"{os.getpid()}.found").write_text(str(found == CHOICES))


@pytest.mark.skipif(os.name == "nt", reason="needs fork")
def test_of_two_processes_one_measures(tmp_path):
    context = multiprocessing.get_context("fork")
    both = [
        context.Process(target=_one_of_two, args=(tmp_path, tmp_path / "caches")) for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [file.read_text() for file in tmp_path.glob("*.found")] == ["True", "True"]
    assert (tmp_path / "measured").read_text() == "once\n"
