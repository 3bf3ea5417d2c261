"""Controls: defenses of known robust accuracy, which show how near the attacks of a board come to the truth."""
