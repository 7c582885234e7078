"""The throughput harness: `python -m benchmarks`. Nothing of Callboard imports it."""
