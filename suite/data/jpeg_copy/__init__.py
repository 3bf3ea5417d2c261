"""Data sets as JPEG files of one quality."""
