"""A whole token through all layers of a model in one compiled call: tensors in, tensors out, no models."""
