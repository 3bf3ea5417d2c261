"""What stands beside a board's ranking to judge its evaluation, such as its controls."""
