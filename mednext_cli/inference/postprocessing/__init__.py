"""Post-processing of label maps: fitted on validation cases, stored with the model, applied."""
