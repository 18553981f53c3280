"""MedNeXt: architecture, blocks, named sizes, UpKern, checkpoints and the published weights."""
