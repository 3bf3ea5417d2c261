"""Commands that compare results: two rows of a board, a new result with an old one, and a challenge of a row."""
