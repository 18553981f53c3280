"""What many cases come to: columns, cases.csv, summary.csv, bootstrap intervals."""
