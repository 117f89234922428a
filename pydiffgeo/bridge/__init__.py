"""All that touches Julia.

How it is started, how tensors are handed over, how gradients come back.
"""
