"""Purifiers, defenses, and what is known about them: certificates, random layers, randomness, hashes of weights."""

from purebench.core.defense.certificate import Certificate, Certifier
from purebench.core.defense.defense import Defense, as_defense
from purebench.core.defense.frozen import Frozen, frozen
from purebench.core.defense.latent_purifier import LatentPurifier, Mix, Remixed
from purebench.core.defense.purifier import Function, Purifier
from purebench.core.defense.randomness import STAYS_RANDOM, keep_random_layers_on, random_layers
from purebench.core.defense.weight_fingerprint import fingerprint

__all__ = [
    "STAYS_RANDOM",
    "Certificate",
    "Certifier",
    "Defense",
    "Frozen",
    "Function",
    "LatentPurifier",
    "Mix",
    "Purifier",
    "Remixed",
    "as_defense",
    "fingerprint",
    "frozen",
    "keep_random_layers_on",
    "random_layers",
]
