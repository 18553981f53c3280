"""Damage for fuzz tests: bytes and JSON changed at random, within limits of time and memory.

The seeds are the same on every machine; HYPOTHESIS_PROFILE=search draws many new ones. A test says
the seed in its assertion, so that a failure can be replayed::

    for seed in seeds(40):
        path.write_bytes(damaged_bytes(whole, seed))
        with limits(), only_ours(seed):
            read(path)
"""

import os
import random
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from mednext_cli.foundation.errors import MednextError

_SEARCH_FACTOR = 50
_MOST_PLACES = 5_000
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 3, 255, 10**7, 2**31, 2**63, 10**30, -(2**63)),
    *(0.0, -0.0, 0.5, 1e-320, 1e-6, 0.9999999, 1e308, float("nan"), float("inf"), float("-inf")),
    *("", " ", "nan", "1", "..", "../../outside", "/etc/passwd", "C:\\x", "a/b", "=1+1", "-x"),
    *("\x1b[31mred", "line\nbreak", "\0", "\u202e", "é", "\ud800", "x" * 5_000),
    *([], {}, [[]], [0], [None], [1, 2, 3], [1] * 1_000, {"": 0}, {"a": {"b": []}}),
)
"""Values of the wrong type, size, sign or shape, and texts that lead out of a folder."""


def seeds(count: int) -> Iterator[int]:
    """`count` fixed seeds, or fifty times as many new ones in a search by hand."""
    if os.environ.get("HYPOTHESIS_PROFILE") != "search":
        yield from range(count)
        return
    for _ in range(_SEARCH_FACTOR * count):
        yield random.SystemRandom().getrandbits(48)


def damaged_bytes(content: bytes, seed: int) -> bytes:
    """The content with one to three of: flipped bits, a cut, an insertion, a hole, a repetition."""
    chance = random.Random(seed)
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        _damage(damaged, chance)
    return bytes(damaged)


def _damage(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content) + 1)
    length = min(chance.choice((1, 1, 2, 4, 8, 64, 1024)), len(content) - at)
    kind = chance.choice(("flip", "flip", "set", "set", "cut", "insert", "remove", "repeat"))
    if kind == "flip" and length:
        content[at] ^= 1 << chance.randrange(8)
    elif kind == "set":
        content[at : at + length] = bytes([chance.choice((0, 1, 127, 128, 255))]) * length
    elif kind == "cut":
        del content[at:]
    elif kind == "insert":
        content[at:at] = chance.randbytes(chance.choice((1, 4, 64)))
    elif kind == "remove":
        del content[at : at + length]
    else:
        content[at:at] = content[at : at + length]


def damaged_json(value: Any, seed: int) -> Any:
    """A copy with one to three entries, anywhere in it, replaced, removed, added or repeated."""
    chance = random.Random(seed)
    holder = {"": _copied(value)}
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        places = list(_places(holder)) or [(holder, "")]
        container, key = chance.choice(places)
        _replace(container, key, chance)
    return holder.get("")


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(one) for key, one in value.items()}
    return [_copied(one) for one in value] if isinstance(value, list | tuple) else value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a nested value."""
    stack = [value]
    while stack:
        container = stack.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in list(keys)[:_MOST_PLACES]:
            yield container, key
            if isinstance(container[key], dict | list):
                stack.append(container[key])


def _replace(container: Any, key: Any, chance: random.Random) -> None:
    kind = chance.choice(("hostile", "hostile", "hostile", "scale", "remove", "add", "repeat"))
    value = container.get(key) if isinstance(container, dict) else container[key]
    if kind == "scale" and type(value) in (int, float):
        container[key] = chance.choice((-value, value + 1, value * 2, value / 2, value * 10**6))
    elif kind == "remove":
        container.pop(key, None) if isinstance(container, dict) else container.pop(key)
    elif kind == "add" and isinstance(container, dict):
        container[chance.choice(("surprise", "", "../x", "\x1b[2J"))] = _hostile(chance)
    elif kind == "repeat" and isinstance(value, list):
        container[key] = value * chance.choice((0, 2, 500))
    else:
        container[key] = _hostile(chance)


def _hostile(chance: random.Random) -> Any:
    return _copied(chance.choice(HOSTILE))


@contextmanager
def only_ours(seed: object) -> Iterator[None]:
    """Let our own errors pass; anything else fails the test and says the seed."""
    try:
        yield
    except MednextError as error:
        _check_line(str(error), seed)
    except Exception as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error


def _check_line(line: str, seed: object) -> None:
    assert line.strip(), f"seed {seed}: an error without a word"
    assert "\n" not in line, f"seed {seed}: more than a line: {line!r}"


@contextmanager
def limits(seconds: int = 20, gib: float = 2.0) -> Iterator[None]:
    """Fail what takes longer, or asks for more memory than the process had before."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"not done after {seconds} s")

    before = resource.getrlimit(resource.RLIMIT_AS)
    old = signal.signal(signal.SIGALRM, interrupt)
    resource.setrlimit(resource.RLIMIT_AS, (_used_bytes() + int(gib * 2**30), before[1]))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
        resource.setrlimit(resource.RLIMIT_AS, before)


def _used_bytes() -> int:
    """Address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
