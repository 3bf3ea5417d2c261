"""Commands that share results: bundles, their verification, submissions."""
