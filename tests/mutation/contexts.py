"""A pytest plug-in for `run.py`: which test runs a line, and how long each takes.

Coverage is told which test runs. What fixtures run is the whole file's, since any of its tests may
look at the result. The seconds of tests and files go to ``--seconds FILE`` as JSON.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from coverage import Coverage

_seconds: Counter[str] = Counter()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seconds", type=Path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    _switch(_file(item.nodeid))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    _switch(_test(item.nodeid))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    _switch("")
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name in (_file(report.nodeid), _test(report.nodeid)):
        _seconds[name] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    session.config.getoption("--seconds").write_text(json.dumps(_seconds), encoding="utf-8")


def _file(test: str) -> str:
    return test.partition("::")[0]


def _test(test: str) -> str:
    return test.partition("[")[0]


def _switch(context: str) -> None:
    coverage = Coverage.current()
    if coverage is not None:
        coverage.switch_context(context)
