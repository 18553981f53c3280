"""How good label maps are: scores per case and region, summaries, ranks, reports."""
