"""Sentence level: words added around a text, or the text in another form with the same meaning."""
