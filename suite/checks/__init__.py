"""Checks whether an evaluation can be trusted.

finding          results of checks, and the joint decision over several
defense_checks   checks of the defense itself: gradients, finite differences, seeds
attack_strength  comparisons of attacks of different strength
attack_variants  the boards that those attacks run on
evaluation       all checks of a defense
trial            a first look at a defense in about a minute
"""
