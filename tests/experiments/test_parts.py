"""Parts of an experiment: the same for every process, whole groups, about as much work each."""

import pytest

from mednext_cli.experiments.layout import RunKey
from mednext_cli.experiments.parts import choose_part, group_runs
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.parts import Part, read_part

CHAINS = {"k3": ("k3",), "k5": ("k5", "k3"), "k7": ("k7", "k5", "k3"), "other": ("other",)}
KEYS = [RunKey(arm, seed, 0) for seed in range(3) for arm in CHAINS]
SLURM = "SLURM_ARRAY_TASK_"


def test_arms_that_start_from_each_other_stay_together() -> None:
    groups = group_runs(KEYS, CHAINS)
    assert sorted({len(group) for group in groups}) == [1, 3]
    assert [key.arm for key in groups[0]] == ["k3", "k5", "k7"]


def test_parts_are_all_the_runs_each_once_and_about_equal() -> None:
    groups, work = group_runs(KEYS, CHAINS), dict.fromkeys(KEYS, 1.0)
    parts = [choose_part(groups, work, Part(index, 4)) for index in range(4)]
    assert sorted(key for part in parts for key in part) == sorted(KEYS)
    assert sorted(map(len, parts)) == [3, 3, 3, 3]
    assert choose_part(groups, work, Part()) != []


def test_a_part_is_read_or_refused() -> None:
    assert read_part("1/4") == Part(1, 4)
    for text in ("4/4", "1", "-1/4", "a/b", "0/0", "0/4x"):
        with pytest.raises(SettingsError, match="not a part"):
            read_part(text)


def test_auto_is_the_task_of_a_slurm_array() -> None:
    array = {f"{SLURM}ID": "6", f"{SLURM}COUNT": "3", f"{SLURM}MIN": "2", f"{SLURM}STEP": "2"}
    assert read_part("auto", array) == Part(2, 3)
    with pytest.raises(SettingsError, match="no task of a Slurm array"):
        read_part("auto", {})
