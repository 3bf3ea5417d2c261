"""Classifiers, undefended and adversarially trained."""
