"""The evaluation of ACNet: one module per table."""
