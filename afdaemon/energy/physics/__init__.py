"""How bright a stack is at an energy: the report's formulas, a Monte Carlo of our own, and an analytic guess."""
