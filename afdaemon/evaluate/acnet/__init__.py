"""The evaluation of ACNet: one module a table."""
