"""Time and energy at different clock frequencies: setting clocks and giving them back, and choosing one.

Importing this package imports no torch.
"""
