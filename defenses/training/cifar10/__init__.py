"""Training recipes of small models of CIFAR-10."""
