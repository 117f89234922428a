"""All that touches Julia: how it is started, how tensors are handed over, how gradients come back."""
