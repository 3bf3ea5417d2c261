"""Training recipes of the models of the board cifar10-small."""
