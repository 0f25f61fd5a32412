"""Training language models: corpora, tokenizers, the training loop."""
