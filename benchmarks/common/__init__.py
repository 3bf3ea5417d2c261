"""What the benchmarks share: their options, reports and paired differences."""
