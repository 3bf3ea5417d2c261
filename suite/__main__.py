"""`python -m purebench`: the command line."""

from purebench.cli.main import main

main()
