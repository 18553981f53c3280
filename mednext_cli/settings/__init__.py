"""What travels between rooms, computers and years: labels, plans, recipes, progress."""
