import sys

import pytest

from mednext_cli.commands.tables import print_table

Captured = pytest.CaptureFixture[str]


def _shown(capsys: Captured, monkeypatch: pytest.MonkeyPatch, columns: int) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_table(("network", "multiply-adds, G", "checkpointed, GiB"), [("S k3", 130.12345, None)])
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("columns", [20, 40, 200])
def test_words_of_a_header_stay_whole(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    text = "\n".join(_shown(capsys, monkeypatch, columns))
    for word in ("network", "multiply-adds", "checkpointed", "GiB", "S k3", "130.1"):
        assert word in text


def test_names_cannot_steer_the_terminal_or_add_columns(capsys: Captured) -> None:
    print_table(("case", "dice"), [("\x1b[2Ja\tb\nc", 0.5)])
    assert capsys.readouterr().out == "case\tdice\n\\x1b[2Ja\\tb\\nc\t0.5\n"
