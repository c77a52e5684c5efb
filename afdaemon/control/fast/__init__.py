"""The fast procedure: a posterior over the defocus, and the moves that follow from it."""
