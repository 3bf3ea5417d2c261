"""Reads and writes results: files of a folder, records of a store, adversarial examples."""
