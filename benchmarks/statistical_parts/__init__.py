"""The parts of `python benchmarks/statistical.py`, by subject."""
