"""`python -m streams.cli`, the same as `clickfold`."""

from streams.cli import main

main()
