"""Checks: can this evaluation be trusted?

finding          what a check says, and how several are judged together
defense_checks   what the defense itself is asked: gradients, finite differences, seeds
attack_strength  what attacks of different strength say of each other
attack_variants  the boards that those attacks run on
evaluation       all of them
"""
