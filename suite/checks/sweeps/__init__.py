"""Sweeping the strength of a defense, and the radius, on dev images: what `purebench sweep` does.

A purifier has no single number: how much it changes the image trades clean accuracy for robust accuracy.

grid          `Family`: a defense with several values of a parameter, written `diffpure(t={100, 150, 200})`
definition    `Sweep`: board, families, radii and the limit of the rule; read from a YAML file
sweep_board   the board on dev images that has a row for each strength
choice        the rule that chooses a strength, and the strengths that cannot be distinguished from it
radii         the curve over the radius, and what must hold for it
outcome       `SweepOutcome`: all numbers, as they are written to sweep.json
run           `run_sweep`: the whole sweep, resumed from the store
markdown      the chosen strengths as a Markdown table
picture       clean against robust accuracy, and robust accuracy against the radius
"""
