"""Commands of the command line that have a room of their own; each imports what is heavy when it runs."""
