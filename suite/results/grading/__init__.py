"""How far a row's number can be believed: controls with known truths, convergence, and the grade of the evaluation."""
