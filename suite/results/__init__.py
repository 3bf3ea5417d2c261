"""Results: checks that what a file says of a defense agrees with itself and with its board."""
