"""The built-in measurements of efficiency, one file each."""
