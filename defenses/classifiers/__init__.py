"""Classifiers, plain and adversarially trained."""
