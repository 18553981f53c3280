"""Networks of any family: the contract, checkpoints, weight files, UpKern; MedNeXt itself."""
