"""Is this installation sound: versions, devices, and what every command needs, tried."""
