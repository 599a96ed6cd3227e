"""Where a generator's random numbers come from: its seed, or where noise protects images what nobody can know."""

import secrets

import torch

from stages.generators.params import GeneratorParams, PrivateParams


def random_of(params: GeneratorParams, seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Seeded by the operating system for a kind whose noise is to be secret, for all others by `seed`."""
    secret = isinstance(params, PrivateParams) and params.noise == "secret"
    return torch.Generator(device).manual_seed(secrets.randbits(63) if secret else seed)
