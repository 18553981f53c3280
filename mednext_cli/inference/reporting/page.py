"""report.html: one page without network, the cases to look at first."""

import base64
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isinf, isnan
from pathlib import Path

from PIL import Image

from mednext_cli.evaluation.pages.page import render_page, show_number
from mednext_cli.evaluation.pages.sortable import Cell, SortableTable, number_cell
from mednext_cli.foundation.files import write_text
from mednext_cli.inference.reporting.cases import ReportedCase
from mednext_cli.inference.reporting.outliers import FEWEST, LIMIT, Standing, in_order

REPORT_NAME = "report.html"
_MOST_COLUMNS = 12  # structures in the table of all cases
_MOST_OPEN = 12  # structures of a case that are shown at once
_QUALITY = 85
_MOST_BYTES = 40 * 2**20  # of all pictures in a page
logger = logging.getLogger(__name__)
Pair = tuple[ReportedCase, Standing]


@dataclass(frozen=True)
class ReportContent:
    """What the page tells.

    Attributes:
        folder: of the predictions.
        facts: by name.
        cases: those that are done.
        failed: why, by case id.
        passed_over: what was not taken for a case, a line each.
    """

    folder: Path
    facts: Mapping[str, str]
    cases: Sequence[ReportedCase]
    failed: Mapping[str, str]
    passed_over: Sequence[str]


@dataclass(frozen=True)
class _Card:
    """One case: why it is shown first, its picture, and a row a structure."""

    name: str
    reasons: tuple[str, ...]
    uncertainty: str
    picture: str
    elsewhere: str
    rows: tuple[tuple[str, str, str], ...]
    is_long: bool


def write_report(content: ReportContent) -> Path:
    """Write the page.

    Raises:
        StorageError: it cannot be written.
    """
    pairs = in_order(content.cases)
    path = content.folder / REPORT_NAME
    text = render_page(
        "predictions.html.jinja",
        package="mednext_cli.inference.reporting",
        name=content.folder.resolve().name,
        facts=content.facts,
        failed=content.failed,
        passed_over=content.passed_over,
        unlike=sum(bool(standing.reasons) for _, standing in pairs),
        done=len(pairs),
        fewest=FEWEST,
        limit=LIMIT,
        table=_table(pairs) if pairs else None,
        cards=list(_cards(pairs)),
    )
    write_text(path, text)
    return path


def _table(pairs: Sequence[Pair]) -> SortableTable:
    structures = list(dict.fromkeys(name for case, _ in pairs for name in case.volumes_ml))
    shown = structures[:_MOST_COLUMNS]
    rows = tuple(
        (
            Cell(case.case_id),
            Cell("; ".join(standing.reasons)),
            _z_cell(standing.distance),
            number_cell(case.uncertainty),
            *(_volume_cell(case.volumes_ml.get(name)) for name in shown),
        )
        for case, standing in pairs
    )
    heads = ("case", "unlike the others", "largest |z|", "uncertainty")
    more = f" {len(structures) - len(shown)} more structures: below." if structures[12:] else ""
    return SortableTable(
        "All cases",
        "Volumes in ml. Uncertainty: mean entropy over the voxels of the structures, 0 (certain) "
        f"to 1; – without --uncertainty.{more}",
        (*heads, *(f"{name} (ml)" for name in shown)),
        rows,
    )


def _z_cell(value: float) -> Cell:
    if isinf(value):
        return Cell("∞", "1e9")
    return Cell(f"{value:.1f}", f"{value:.6g}") if value else Cell("–", "")


def _volume_cell(value: float | None) -> Cell:
    return Cell("–", "") if value is None else Cell(f"{value:.4g}", f"{value:.6g}")


def _cards(pairs: Sequence[Pair]) -> Iterator[_Card]:
    left = _MOST_BYTES
    for case, standing in pairs:
        picture = _picture(case.preview) if left > 0 else ""
        left -= len(picture)
        uncertainty = case.uncertainty
        yield _Card(
            name=case.case_id,
            reasons=standing.reasons,
            uncertainty="" if isnan(uncertainty) else f"Uncertainty {show_number(uncertainty)}",
            picture=picture,
            elsewhere=case.preview.name if case.preview.is_file() else "",
            rows=tuple(
                (name, f"{ml:.4g}", _signed(standing.volume_z[name]))
                for name, ml in case.volumes_ml.items()
            ),
            is_long=len(case.volumes_ml) > _MOST_OPEN,
        )


def _signed(z: float) -> str:
    if isinf(z):
        return "not found"
    return "–" if isnan(z) else f"{z:+.1f}"


def _picture(path: Path) -> str:
    """A preview as data URI, a quarter of its size; empty where it is missing or damaged."""
    stream = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.convert("RGB").save(stream, "JPEG", quality=_QUALITY, subsampling=0)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, SyntaxError):  # what Pillow raises for damaged files
        logger.warning("%s cannot be read: the report does without", path)
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
