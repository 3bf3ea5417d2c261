"""Searching for an attack on one defense, on dev images, and confirming the one that is found on test images.

candidate   `AttackCandidate`: an attack, or a sequence of attacks, that is tried
defense_profile  `DefenseProfile`: randomness, gradients, parts that can be attacked in place of the defense
portfolio   the candidates that are tried first: a remedy for each known cause of gradient masking
space       the unit cube of all other candidates
bench       `AttackBench`: runs candidates on dev images, and keeps their records in the store
halving     `Halving`: successive halving on growing numbers of images; greedy composition
search      `search`: the whole search, until the time is over
confirm     confirms the winner on images of the board, once per search; further confirmations spend alpha
controls    `MeasuredFault`, `BreakFrequency`: how often the same budget broke defenses with known faults
report      the report: terminal, report.md, report.json, and the attack as a board can use it
"""
