"""`python -m purebench`: the command line."""

from purebench.cli import main

main()
