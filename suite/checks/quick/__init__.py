"""A quick of a defense in about a minute (`purebench try`)."""
