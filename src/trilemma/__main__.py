"""`python -m trilemma`, the same as the command `trilemma`."""

from trilemma.cli.main import main

main()
