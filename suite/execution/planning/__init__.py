"""Plans a run: its cost, its time on several workers, a time budget, and its division into shards."""
