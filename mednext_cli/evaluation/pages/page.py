"""HTML pages in one file: templates, their style and script, and the policy that forbids a network.

Style and script are allowed by their hashes alone, so that not even a name that slipped through
escaping could run or fetch anything.
"""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from math import isinf, isnan

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mednext_cli import __version__
from mednext_cli.foundation.cells import show_controls
from mednext_cli.foundation.columns import Column

LONGEST_LABEL = 26  # letters of a name in a plot
_PACKAGE, _FOLDER = "mednext_cli.evaluation.pages", "templates"


def render_page(template: str, package: str = _PACKAGE, **values: object) -> str:
    """Fill a template; every text among the values is escaped.

    Args:
        template: a file of templates/.
        package: whose; templates of other rooms may extend and import those here.
        values: what the template names.
    """
    style, script = _read("report.css"), _read("report.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    # Both are files of this package: nothing in them comes from outside.
    return fill_template(
        template,
        package,
        style=Markup(style),
        script=Markup(script),
        policy=policy,
        version=__version__,
        **values,
    )


def fill_template(template: str, package: str = _PACKAGE, **values: object) -> str:
    """The same without the style and script of a page."""
    return _environment(package).get_template(template).render(**values)


@cache
def _environment(package: str) -> Environment:
    """One for all pages of a room: it keeps the templates that it has compiled."""
    packages = dict.fromkeys((package, _PACKAGE))
    return Environment(
        loader=ChoiceLoader([PackageLoader(name, _FOLDER) for name in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_without_controls,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _without_controls(value: object) -> object:
    """Names come from files; in SVG a control character is not even allowed."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return show_controls(value)


def spell(column: Column) -> str:
    """A column's name as people read it: ``hd95``, without its unit."""
    return column.name.removesuffix("_mm").removesuffix("_ml").replace("_", " ")


def spell_with_unit(column: Column) -> str:
    """The same with the unit behind: ``hd95 (mm)``."""
    unit = f" ({column.unit})" if column.unit and column.unit != "0 to 1" else ""
    return spell(column) + unit


def shorten(label: str) -> str:
    """At most `LONGEST_LABEL` letters; names of a series differ at their ends, so those stay."""
    if len(label) <= LONGEST_LABEL:
        return label
    kept = LONGEST_LABEL // 2
    return f"{label[: kept - 1]}…{label[-kept:]}"


def show_number(value: float) -> str:
    """Three decimals, or one from 10 on; a dash where it is undefined."""
    if isnan(value):
        return "–"
    if isinf(value):
        return "∞"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _read(name: str) -> str:
    return (files(_PACKAGE) / _FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode('utf-8')).digest()).decode('ascii')}"
