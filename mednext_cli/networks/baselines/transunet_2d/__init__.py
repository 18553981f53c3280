"""TransUNet in two dimensions: the network of slices that the MedNeXt paper compared with."""
