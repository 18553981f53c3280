"""The damage that fuzz tests do is the same each time, and their limits hold."""

import json
import time

import pytest

from mednext_cli.foundation.errors import ScanError
from tests.fuzzing import damaged_bytes, damaged_json, limits, only_ours

WHOLE = {"shape": [1, 2, 3], "names": {"liver": 1}, "spacing": 0.5}


def test_damage_is_repeatable_and_varied():
    before = json.dumps(WHOLE)
    content = bytes(range(256))
    made = [damaged_bytes(content, seed) for seed in range(200)]
    assert made == [damaged_bytes(content, seed) for seed in range(200)]
    assert len(set(made)) > 150
    texts = [repr(damaged_json(WHOLE, seed)) for seed in range(200)]
    assert texts == [repr(damaged_json(WHOLE, seed)) for seed in range(200)]
    assert len(set(texts)) > 100
    assert json.dumps(WHOLE) == before


def test_damage_takes_anything():
    for seed in range(50):
        damaged_bytes(b"", seed)
        damaged_json(None, seed)
        damaged_json([], seed)


def test_limits_and_errors_of_others_are_told():
    with pytest.raises(AssertionError, match="not done after 1 s"), limits(seconds=1):
        time.sleep(5)
    with pytest.raises(MemoryError), limits(gib=0.1):
        bytearray(2**35)  # more than what was freed and kept
    with pytest.raises(AssertionError, match="seed 7: KeyError"), only_ours(7):
        raise KeyError("x")
    with only_ours(7):
        raise ScanError("ours")
