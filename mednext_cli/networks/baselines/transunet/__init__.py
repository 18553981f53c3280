"""TransUNet in three dimensions: transformers in the encoder, the decoder or both."""
