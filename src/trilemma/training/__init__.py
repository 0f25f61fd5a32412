"""Training language models: corpora, tokenizers, pretraining, and the loop that adaptation shares."""
