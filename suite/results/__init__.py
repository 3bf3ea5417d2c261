"""Results of boards: merging of records, ranking, comparisons, export, and validation."""
