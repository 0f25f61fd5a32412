"""How a model takes one new token in one compiled call, instead of module by module."""
