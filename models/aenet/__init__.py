"""AENet: how good is the focus of a frame?"""
