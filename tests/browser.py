"""Chromium, for tests of the pages that people look at."""

import os
import shutil

import pytest

CHROMIUM = os.environ.get("MEDNEXT_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
IN_BROWSER = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium found: install one or name it with MEDNEXT_CHROMIUM"
    ),
]
