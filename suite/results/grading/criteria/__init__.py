"""The three letters of a grade, each the worst of its criteria."""
