"""From what models cost to which of them runs where, how, and at which clock frequency.

Importing this package imports no torch.
"""
