import pytest

from mednext_cli.foundation.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("case_1 (kidney)", "case_1 (kidney)"),
        ("Müller_日本", "Müller_日本"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("two\nlines\tand\r", r"two\nlines\tand\r"),
        ("a\u202egnp.exe", r"a\u202egnp.exe"),
        ("not utf-8: \udcff", r"not utf-8: \udcff"),
        ("\x9b2J", r"\x9b2J"),
    ],
)
def test_what_steers_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown
