"""Built-in adaptations, one a file; it is called as its file is."""
