"""The bridge to Julia: how it is started, how tensors go over, how gradients come back.

How it is started, how tensors are handed over, how gradients come back.
"""
