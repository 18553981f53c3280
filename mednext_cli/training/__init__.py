"""Recipe, sampling, augmentation, loss, schedule, loop."""
