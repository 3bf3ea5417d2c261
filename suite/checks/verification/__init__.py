"""Verifies the bundle of a row: queries its defense again, and repeats the attacks on some of its images."""
