"""What recipes read beside the victim: dictionaries, word vectors, models and a tagger."""
