"""What answers: a model in this process, or one behind an address."""
