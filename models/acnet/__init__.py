"""ACNet: which step leads to the best focus?"""
