"""The parts of `python benchmarks/hostile_files.py`: the intact files, the mutations, and the readers."""
