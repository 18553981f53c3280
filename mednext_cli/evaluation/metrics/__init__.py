"""One number for two masks: overlap, surfaces, borders, lesions, and what empty masks give."""
