import pickle

import pytest

from mednext_cli.foundation import errors
from mednext_cli.foundation.errors import FailedCases, MednextError, nearest

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, MednextError) and kind is not FailedCases
]


@pytest.mark.parametrize("kind", KINDS)
def test_errors_travel_between_processes(kind: type[MednextError]) -> None:
    error = pickle.loads(  # noqa: S301 - our own
        pickle.dumps(kind("a.nii is cut off", "Copy it again."))
    )
    assert type(error) is kind
    assert str(error) == "a.nii is cut off. Copy it again."
    assert (error.message, error.remedy) == ("a.nii is cut off", "Copy it again.")


@pytest.mark.parametrize("end", [".", "?", "!"])
def test_a_sentence_ends_once(end: str) -> None:
    text = str(MednextError(f"is it there{end}", "Look."))
    assert text == f"is it there{end} Look."


def test_failed_cases_travel() -> None:
    error = pickle.loads(  # noqa: S301 - our own
        pickle.dumps(FailedCases({"x": "dark"}, 3, "Look."))
    )
    assert error.reasons == {"x": "dark"}
    assert str(error) == "1 of 3 cases failed: x. Look."


def test_an_error_is_one_line() -> None:
    assert str(MednextError("two\n lines")) == "two lines"


def test_nearest() -> None:
    assert (
        nearest("trian", {"train": 1, "predict": 2}) == "Did you mean train? Known: predict, train"
    )
    assert nearest("zzz", ["train"]) == "Known: train"
    assert nearest("zzz", []) == "Known: none"
