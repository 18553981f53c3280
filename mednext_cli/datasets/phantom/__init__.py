"""Made-up abdominal CTs in the KiTS19 layout, for demonstrations, tests and benchmarks."""
