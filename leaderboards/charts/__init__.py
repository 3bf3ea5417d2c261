"""Charts as SVG paths: security curves, accuracies under repeated queries, and their frames."""
