"""What every room stands on: errors, progress, atomic files, workers, devices, plugins."""
