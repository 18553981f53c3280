"""MedNeXt: architecture, blocks, named sizes, published weights, and how it runs fast."""
