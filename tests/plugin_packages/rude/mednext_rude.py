"""Layouts and engines that do not behave."""

from pathlib import Path
from typing import ClassVar


class MoodyLayout:
    description = "fails when it is asked"
    label_set = None

    def recognises(self, raw: Path) -> bool:
        raise ZeroDivisionError("not today")

    def read(self, raw: Path) -> None:
        raise ZeroDivisionError("not today")


LAYOUT = MoodyLayout()


class Engine:
    requires: ClassVar = {"no_such_package": "mednext-rude[engine]"}
