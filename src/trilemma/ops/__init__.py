"""Operators: one file each, a plain reference and a fast path with the same signature.

Time-mixing operators take ``[B, T, H, K]`` (batch, time, heads, channels) and know nothing of models.
Import the one that is needed: ``gla``, ``linear_scan``, ``ternary``, ``norms``, ``rotary``, ``short_conv``.
"""
