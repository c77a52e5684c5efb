"""One posterior over where the focus lies, and one rule of least expected loss. Pure."""
