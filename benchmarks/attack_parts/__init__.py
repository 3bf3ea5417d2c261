"""Parts of the benchmarks of the attacks."""
