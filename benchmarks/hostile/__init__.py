"""The parts of `python benchmarks/hostile_files.py`: the intact files, the mutations, and how they are read."""
