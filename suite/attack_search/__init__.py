"""Searching for an attack on one defense, on dev images, and confirming the one that is found on test images.

candidate   `Candidate`: an attack, or a sequence of attacks, that is tried
knowledge   looks at the defense once: randomness, gradients, parts that can be attacked in its place
portfolio   the candidates that are tried first: a remedy for each known cause of gradient masking
space       the unit cube of all other candidates
bench       `Bench`: runs candidates on dev images, and keeps their records in the store
halving     successive halving on growing numbers of images; greedy composition
search      `search`: the whole search, until the time is over
confirm     confirms the winner on images of the board, once per search; further confirmations spend alpha
controls    how often the same budget broke defenses with known faults
report      the report: terminal, report.md, report.json, and the attack as a board can use it
"""
