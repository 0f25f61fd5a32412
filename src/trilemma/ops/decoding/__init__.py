"""A whole token through all layers in one compiled call: addresses and shapes, no models."""
