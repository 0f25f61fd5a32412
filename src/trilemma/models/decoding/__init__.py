"""A whole token through all layers of a model in one call."""
