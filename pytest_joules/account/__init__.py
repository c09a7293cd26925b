"""Where inside a test its joules go: the joules of the measured rounds, shared out by what traced rounds saw of its parts.

It knows no pytest and no torch.
"""
