"""The HDF5 store shared by all commands: schema, writer, reader."""
