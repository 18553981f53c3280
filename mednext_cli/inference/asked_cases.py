"""The cases that a call of `mednext predict` is about."""

from dataclasses import dataclass

from mednext_cli.datasets.dataset import Case
from mednext_cli.inference.sources import find_cases, select_cases
from mednext_cli.inference.specification import PredictSpec
from mednext_cli.settings.plan import Plan


@dataclass(frozen=True)
class AskedCases:
    """What was found.

    Attributes:
        every: cases that were asked for, sorted by id, also those of other parts.
        passed_over: what was not taken for a case.
    """

    every: tuple[Case, ...]
    passed_over: tuple[str, ...] = ()

    def of(self, spec: PredictSpec) -> list[Case]:
        """Those of this call's part."""
        cases = list(self.every)
        return cases if spec.part is None else list(spec.part.of(cases))


def find_asked_cases(spec: PredictSpec, plan: Plan) -> AskedCases:
    """The cases of a call; what is passed over is said, too.

    What lies in the output folder is no scan, even if that is among them.

    Raises:
        DatasetError, PluginError, ScanError, SettingsError: as `find_cases` and `select_cases`.
    """
    if not isinstance(spec.images, tuple):
        return _search(spec, plan)
    return AskedCases(spec.images)


def _search(spec: PredictSpec, plan: Plan) -> AskedCases:
    images, passed_over = spec.images, list[str]()
    assert not isinstance(images, tuple)  # noqa: S101 - told apart by the caller
    found = find_cases(images, plan, spec.layout, spec.options, spec.scratch, passed_over.append)
    out = spec.out.resolve()
    if out != images.resolve():
        found = [case for case in found if out not in case.channels[0].path.resolve().parents]
    found = found if spec.cases is None else select_cases(found, spec.cases)
    return AskedCases(tuple(found), tuple(passed_over))
