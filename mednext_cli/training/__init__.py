"""A run: what is drawn and augmented, a step, the schedule, what is kept and saved, the loop."""
