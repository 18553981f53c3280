"""Whether a call of `mednext predict` has nothing to do, told without PyTorch and the networks.

``predict.json`` notes the last call that predicted: its options and the state of its models' files.
The same call again means the same label maps, so that only these have to be looked at.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mednext_cli import __version__
from mednext_cli.inference.asked_cases import AskedCases, find_asked_cases
from mednext_cli.inference.catalogue.names import resolve_models
from mednext_cli.inference.findings.files import CHANGES, VOLUMES, Wanted
from mednext_cli.inference.findings.tables import join_tables
from mednext_cli.inference.record import PredictionRecord
from mednext_cli.inference.record_file import RecordContent, Settings, read_record
from mednext_cli.inference.specification import PredictResult, PredictSpec
from mednext_cli.preprocessing.stamps import content_key
from mednext_cli.settings.plan import Plan

CALL = "call"
"""Of the record's provenance."""
# What a label map does not depend on, and where scans are, which are looked for anyway.
_OTHERWISE = frozenset(
    {
        *("images", "layout", "options", "cases", "part", "scratch"),
        *("workers", "out", "device", "force"),
    }
)
_MODEL_FILES = ("*.pt", "*.safetensors", "*.toml", "*.json")
_WANTED = TypeAdapter(Wanted)


@dataclass(frozen=True)
class Settled:
    """What was found out.

    Attributes:
        result: of the call, if it has nothing to do.
        found: its cases, where they were looked for already.
    """

    result: PredictResult | None = None
    found: AskedCases | None = None


def find_settled(spec: PredictSpec) -> Settled:
    """Look whether all is done; whatever is not known for certain counts as not done.

    Raises:
        CheckpointError, PluginError: no such model.
        DatasetError, ScanError, SettingsError: as `find_asked_cases` and `PredictionRecord.check`.
    """
    # A report is always written; a network in int8 has files of its own, which it reads itself.
    if spec.force or spec.report or spec.precision == "int8" or isinstance(spec.images, tuple):
        return Settled()
    content = read_record(spec.out)
    known = _read_call(content, spec)
    if known is None or content.settings is None:
        return Settled()
    plan, wanted = known
    found = find_asked_cases(spec, plan)
    cases = found.of(spec)
    record = PredictionRecord(spec.out, content.settings, {}, wanted)
    record.check(cases)
    if record.is_untidy or any(record.is_open(case) for case in cases):
        return Settled(found=found)
    for name, is_wanted in ((VOLUMES, wanted.statistics), (CHANGES, wanted.changes)):
        if is_wanted:
            join_tables(spec.out, name)
    return Settled(PredictResult(spec.out, (), tuple(case.id for case in cases)), found)


def _read_call(content: RecordContent, spec: PredictSpec) -> tuple[Plan, Wanted] | None:
    """What the folder's last call needed, if this is the same call."""
    call = content.provenance.get(CALL)
    try:
        if call is None or call["key"] != _key(spec, resolve_models(spec.models)):
            return None
        return Plan.model_validate(call["plan"]), _WANTED.validate_python(call["wanted"])
    except (LookupError, TypeError, ValidationError, OSError):
        return None


def describe_call(spec: PredictSpec, plan: Plan, wanted: Wanted) -> Settings:
    """What `find_settled` needs to know of a call, plain JSON.

    Args:
        spec: of the call, its models' names resolved.
        plan: of the networks.
        wanted: beside label maps.
    """
    try:
        key = _key(spec, spec.models)
    except OSError:  # a file of the model is gone meanwhile
        key = ""
    return {"key": key, "plan": plan.model_dump(mode="json"), "wanted": asdict(wanted)}


def _key(spec: PredictSpec, models: tuple[Path, ...]) -> str:
    asked = {field.name: getattr(spec, field.name) for field in fields(spec)}
    plain = {name: str(value) for name, value in asked.items() if name not in _OTHERWISE}
    paths = [*models, *([] if spec.postprocessing is None else [spec.postprocessing])]
    plain["models"] = str([str(path.resolve()) for path in models])
    return content_key(__version__, plain, [_state(path) for path in paths])


def _state(path: Path) -> list[Any]:
    """Of a checkpoint and what may lie beside it, or of a run folder or a folder of these."""
    folder = path if path.is_dir() else path.parent
    folders = [folder, *(sorted(folder.glob("fold*/")) if path.is_dir() else ())]
    files = {one for place in folders for pattern in _MODEL_FILES for one in place.glob(pattern)}
    if path.is_file():
        files = {one for one in files if one.suffix == ".json"} | {path}
    status = [(one, one.stat()) for one in sorted(files)]
    return [[str(one), at.st_size, at.st_mtime_ns, at.st_ctime_ns] for one, at in status]
