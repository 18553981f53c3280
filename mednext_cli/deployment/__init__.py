"""What a prediction takes on this machine: every stage measured, one page for who has to decide."""
