"""DefocusNet: how far is the focus, and on which side?"""
