"""Labelled images: the type, its validation, and functions that build data sets from pictures."""
