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


def test_the_others_are_done_only_where_there_are_others() -> None:
    some = FailedCases({"x": "dark"}, 3, "Look.", others="The others are done.")
    assert str(some) == "1 of 3 cases failed: x. The others are done. Look."
    every = FailedCases({"x": "dark"}, 1, "Look.", others="The others are done.")
    assert str(every) == "1 of 1 cases failed: x. Look."


def test_a_failure_of_ours_decides_the_exit_code() -> None:
    assert FailedCases({"x": "dark", "y": "bug"}, 3, "Look.").exit_code == 2
    mixed = FailedCases({"x": "dark", "y": "bug"}, 3, "Look.", ["y"], "The others are done.")
    assert mixed.exit_code == 1
    assert "x, y (y by a fault of ours). The others are done. Look." in str(mixed)
    travelled = pickle.loads(pickle.dumps(mixed))  # noqa: S301 - our own
    assert (travelled.exit_code, str(travelled)) == (1, str(mixed))
    ours = FailedCases({"y": "bug"}, 3, "Look.", ["y"])
    assert "report" in str(ours)
    assert "Look." not in str(ours)


def test_of_many_failed_cases_the_first_are_named() -> None:
    error = FailedCases({f"case{index}": "dark" for index in range(300)}, 300, "Look.")
    assert "case9 and 290 more. Look." in str(error)


def test_an_error_is_one_line() -> None:
    assert str(MednextError("two\n lines")) == "two lines"


def test_nearest() -> None:
    assert (
        nearest("trian", {"train": 1, "predict": 2}) == "Did you mean train? Known: predict, train"
    )
    assert nearest("zzz", ["train"]) == "Known: train"
    assert nearest("zzz", []) == "Known: none"
