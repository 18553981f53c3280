"""The columns of verify.csv of a cache."""

from mednext_cli.foundation.columns import Column, Table

VERIFIED_CACHE = Table(
    "verify.csv of a cache",
    "One row per case, by `mednext datasets verify --cache CACHE`. Its folder is `--out`; the same "
    "table is printed.",
    (
        Column("dataset", "Name of the cache."),
        Column("case", "Case id."),
        Column("problem", "What is wrong; nothing where its file is what was written."),
    ),
)
