"""What is told of a case beside its label map: volumes, previews, masks, uncertainty."""
