"""Clock frequencies: set and given back, swept, modelled and chosen."""
