"""Networks that MedNeXt is compared with, a folder a family."""
