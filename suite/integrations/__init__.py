"""Other packages that purebench runs inside of, or reads."""
