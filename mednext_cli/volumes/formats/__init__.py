"""The file formats of scans and label maps, one object each; `scans.format_of` finds a file's."""
