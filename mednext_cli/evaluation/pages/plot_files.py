"""Plots of the leaderboard as SVG files of their own, for papers and slides."""

from collections.abc import Sequence
from pathlib import Path

from mednext_cli.evaluation.pages.page import fill_template
from mednext_cli.evaluation.pages.plots import BoxPlot
from mednext_cli.evaluation.pages.rank_plot import RankPlot
from mednext_cli.foundation.files import write_text

_MARGIN, _TITLE_HEIGHT, _GAP = 16, 26, 18
_LETTER_WIDTH = 7.5  # of a title


def write_plots(path: Path, plots: Sequence[RankPlot] | Sequence[BoxPlot]) -> None:
    """Write plots of one kind below each other.

    Args:
        path: the SVG file to write.
        plots: of ranks, or of cases.

    Raises:
        StorageError: it cannot be written.
    """
    places, top = [], float(_MARGIN)
    for plot in plots:
        places.append((top, plot))
        top += plot.height + _TITLE_HEIGHT + _GAP
    text = fill_template(
        "plots.svg.jinja",
        places=places,
        ranks=isinstance(plots[0], RankPlot),
        width=max(max(plot.width, _LETTER_WIDTH * len(plot.title)) for plot in plots) + 2 * _MARGIN,
        height=top,
        margin=_MARGIN,
        title_height=_TITLE_HEIGHT,
    )
    write_text(path, text.lstrip())
