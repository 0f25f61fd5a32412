"""What a model would cost on a machine: forecasts from its configuration alone, as records.

Importing this package imports no torch.
"""
