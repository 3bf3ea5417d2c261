"""Commands of the command line that have their own module; each imports heavy modules when it runs."""
