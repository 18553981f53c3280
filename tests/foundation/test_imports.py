"""Imports of large packages: no search for garbage within, and all as before behind."""

import subprocess
import sys

import pytest

_WITHIN = """
import gc, sys
from mednext_cli.foundation.imports import importing
{before}
with importing():
    within = gc.isenabled()
print(within, gc.isenabled(), gc.get_freeze_count() > 0)
"""


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("", "False True True"),
        ("gc.disable()", "False False True"),
        ("sys.modules['torch'] = None", "True True False"),  # nothing large is left to import
    ],
)
def test_garbage_is_searched_for_as_before(before: str, said: str) -> None:
    code = _WITHIN.format(before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == said, done.stderr
