"""The columns of leaderboard.csv, pairwise.csv and consensus.csv."""

from mednext_cli.foundation.columns import Column, Table

LEADERBOARD = Table(
    "leaderboard.csv",
    "One row per dataset, metric, region and method, by `mednext leaderboard`.",
    (
        Column("metric", "The metric ranked by."),
        Column("region", "Region, or overall: the mean over the regions."),
        Column("method", "NAME of NAME=cases.csv."),
        Column("cases", "Cases that count, the same for all methods."),
        Column(
            "mean",
            "Mean over cases, without undefined values; with `--aggregate median` the median. An "
            "infinite distance counts as 1 mm more than the largest finite one of any method.",
            "the metric's",
        ),
        Column(
            "rank",
            "Aggregate then rank: by `mean`; ties (equal in 12 decimals) share the better rank.",
        ),
        Column(
            "mean_of_ranks",
            "Mean over cases (or median) of the rank among the methods in that case. An undefined "
            "value comes last in its case; with `--undefined drop` the case ranks nobody.",
        ),
        Column("rank_then_aggregate", "Rank by mean_of_ranks."),
        Column("wins", "How many other methods it beats significantly (see pairwise.csv)."),
        Column("significance_rank", "Test then rank: by wins."),
        Column(
            "rank_low",
            "2.5 % percentile of `rank` over 1,000 seeded bootstrap samples; nan for one case.",
        ),
        Column("rank_high", "97.5 % percentile of the same."),
        Column("undefined", "How many of its values are undefined or infinite."),
        Column("as_worst", "How many missing cases were scored as the worst (--missing worst)."),
        Column("rank_then_aggregate_low", "2.5 % percentile of that rank over the same samples."),
        Column("rank_then_aggregate_high", "97.5 % percentile of the same."),
        Column("significance_rank_low", "2.5 % percentile of that rank over the same samples."),
        Column("significance_rank_high", "97.5 % percentile of the same."),
        Column(
            "rank_tau",
            "Stability of `rank`: mean Kendall's tau-b of the ranking of all methods with those of "
            "the bootstrap samples; 1 when resampling moves nothing, nan when all methods tie.",
        ),
        Column("rank_then_aggregate_tau", "The same of that ranking."),
        Column("significance_rank_tau", "The same of that ranking."),
        Column("dataset", "DATASET of NAME@DATASET=cases.csv, or nothing."),
    ),
)
PAIRWISE = Table(
    "pairwise.csv",
    "One row per dataset, metric, region and ordered pair of methods.",
    (
        Column("metric", "The metric compared."),
        Column("region", "Region, or overall: each case's mean over its regions."),
        Column("method", "The method that might be better."),
        Column("other", "The method it is compared with."),
        Column("cases", "Cases in which both are defined."),
        Column("mean_difference", "Mean over cases of method less other.", "the metric's"),
        Column("better_cases", "Cases in which the method is better."),
        Column("worse_cases", "Cases in which it is worse."),
        Column(
            "p",
            "One-sided Wilcoxon signed-rank test that the method is better (normal approximation "
            "with continuity correction, zero differences dropped).",
        ),
        Column("p_holm", "The same after Holm's correction over all ordered pairs of methods."),
        Column("significant", "1 where p_holm (with `--p-adjust none`: p) does not exceed 0.05."),
        Column("dataset", "DATASET of NAME@DATASET=cases.csv, or nothing."),
    ),
)
CONSENSUS = Table(
    "consensus.csv",
    "One row per ranking, metric and method: the regions of all datasets together.",
    (
        Column("ranking", "rank, rank_then_aggregate or significance_rank of leaderboard.csv."),
        Column("metric", "The metric, or all of them together."),
        Column("method", "NAME of NAME=cases.csv."),
        Column("tasks", "How many rankings are joined: one per dataset, region and metric."),
        Column("mean_rank", "Mean over the tasks of the rank."),
        Column("consensus_rank", "Rank by mean_rank; ties share their average rank."),
    ),
)
