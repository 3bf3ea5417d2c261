"""Purifiers, defenses, and what is known about them: certificates, random layers, randomness, hashes of weights."""

from purebench.core.defense.certificate import Certificate, Certifier
from purebench.core.defense.defense import Defense, as_defense
from purebench.core.defense.frozen import Frozen, frozen
from purebench.core.defense.gaussian_encoder import GaussianEncoder
from purebench.core.defense.latent_purifier import NO_VARIANCES, LatentPurifier, Mix, Remixed
from purebench.core.defense.latent_search import LatentSearchPurifier
from purebench.core.defense.purifier import Function, Purifier
from purebench.core.defense.randomness import STAYS_RANDOM, keep_random_layers_on, random_layers
from purebench.core.defense.trace import State
from purebench.core.defense.weight_fingerprint import fingerprint

__all__ = [
    "NO_VARIANCES",
    "STAYS_RANDOM",
    "Certificate",
    "Certifier",
    "Defense",
    "Frozen",
    "Function",
    "GaussianEncoder",
    "LatentPurifier",
    "LatentSearchPurifier",
    "Mix",
    "Purifier",
    "Remixed",
    "State",
    "as_defense",
    "fingerprint",
    "frozen",
    "keep_random_layers_on",
    "random_layers",
]
