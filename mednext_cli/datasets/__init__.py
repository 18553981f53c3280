"""Raw layouts: one file a layout, read as downloaded."""
