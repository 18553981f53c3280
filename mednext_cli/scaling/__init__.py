"""What networks cost: parameters, multiply-adds, memory, time; and what this machine can bear."""
