"""Checks: can this evaluation be trusted?

finding    what a check says, and how several are judged together
direct     what the defense itself is asked: gradients, finite differences, seeds
strength   what attacks of different strength say of each other
attacks    the boards that those attacks run on
honest     all of them
"""
