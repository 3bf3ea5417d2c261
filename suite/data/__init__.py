"""Labelled images: the type, its validation, and the parts from which data sets of pictures are built."""
