"""What torchrun tells the processes that it starts, by their environment."""

import os
from collections.abc import Mapping


def count_processes(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes torchrun has started for this command; 1 without it."""
    return max(1, read_number(environment, "WORLD_SIZE"), read_number(environment, "RANK") + 1)


def read_number(environment: Mapping[str, str], name: str) -> int:
    """A variable's number; 0 where it is none."""
    text = environment.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
