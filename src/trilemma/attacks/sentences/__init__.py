"""Sentence level: words of ours around a text, or the same said in another form; the label holds."""
