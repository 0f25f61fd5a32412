"""Everything that answers texts with class probabilities."""
