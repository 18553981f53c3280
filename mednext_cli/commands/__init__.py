"""One file a subcommand: options in, one call down, a table out."""
