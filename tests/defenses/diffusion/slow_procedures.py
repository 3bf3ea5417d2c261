"""Published purifiers computed again, slowly and in float64, from the formulas of their papers and releases alone.

Nothing of purebench is imported. `noise(k)` is the k-th noise of a purification, in the order in which purebench draws
it; `network(state, label)` is the noise predictor.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

BETAS = np.linspace(1e-4, 0.02, 1000)
BARS = np.cumprod(1 - BETAS)


def bar(i):
    return 1.0 if i < 0 else float(BARS[i])


def forward(z, i, noise):
    return math.sqrt(bar(i)) * z + math.sqrt(1 - bar(i)) * noise


def sde(z, network, noise, t, timestep):
    """DiffPure's release: t steps of 0.001 on the reverse clock, in float32 as torchsde counts them."""
    s = forward(z, t - 1, noise(0))
    clock, end, number = np.float32(1 - t / 1000), np.float32(1 - 1e-5), 0
    while clock < end:
        after = min(np.float32(clock + np.float32(1e-3)), end)
        tau, h = float(np.float32(1) - clock), float(np.float32(1) - clock) - float(np.float32(1) - after)
        beta, level = 0.1 + 19.9 * tau, math.exp(-0.1 * tau - 9.95 * tau**2)
        score = -network(s, timestep(np.float32(tau))) / math.sqrt(1 - level)
        number += 1
        s = s + h * (beta * s / 2 + beta * score) + math.sqrt(beta * h) * noise(number)
        clock = after
    return (s + 1) / 2


def gradual(z, network, noise, runs):
    """Lee & Kim's code with eta 1; each run is (T, n)."""
    number = 0
    for total, count in runs:
        seq = [total * (k + 1) // count - 1 for k in range(count)]
        s = forward(z, total - 1, noise(number))
        number += 1
        for i, j in zip(reversed(seq), [*reversed(seq[:-1]), -1], strict=True):
            predicted = network(s, i)
            clean = (s - math.sqrt(1 - bar(i)) * predicted) / math.sqrt(bar(i))
            first = math.sqrt((1 - bar(i) / bar(j)) * (1 - bar(j)) / (1 - bar(i)))
            second = math.sqrt(max(1 - bar(j) - first**2, 0))
            s = math.sqrt(bar(j)) * clean + first * noise(number) + second * predicted
            number += 1
        z = s
    return (z + 1) / 2


def posterior(clean, s, kept, k):
    """Mean and variance of q(x_{k-1} | x_k, x_0) on the timesteps that are kept."""
    now, then = bar(kept[k]), bar(kept[k - 1]) if k else 1.0
    beta = 1 - now / then
    mean = beta * math.sqrt(then) / (1 - now) * clean + (1 - then) * math.sqrt(1 - beta) / (1 - now) * s
    return mean, beta * (1 - then) / (1 - now), beta


def gdmp_cifar10(z, network, noise):
    """Four rounds from index 36, fixedlarge variance, guidance by the mean over a batch of 100."""
    s, number, kept = z, 0, list(range(1000))
    m = (2 * 8 / 255) / 3 / 60_000
    for _ in range(4):
        s = forward(s, 36, noise(number))
        number += 1
        for i in reversed(range(36)):
            clean = ((s - math.sqrt(1 - bar(i)) * network(s, i)) / math.sqrt(bar(i))).clamp(-1, 1)
            mean, _, beta = posterior(clean, s, kept, i)
            variance = beta if i else posterior(clean, s, kept, 1)[1]
            there = forward(z, i, noise(number + 1))
            slope = -2 * (s - there) / (100 * 3 * 32 * 32)
            mean = mean + variance * slope * math.sqrt(1 - bar(i)) / (m * math.sqrt(bar(i)))
            s = mean + (math.sqrt(variance) * noise(number) if i else 0)
            number += 2
    return ((s + 1) / 2).clamp(0, 1)


def gdmp_imagenet(z, network, noise, size):
    """45 of 250 timesteps, learned variance, guidance to the input by the mean over a batch of 60 at 256 pixels."""
    place, kept = 0.0, []
    for _ in range(250):
        kept.append(round(place))
        place += 999 / 249
    z = F.interpolate(z, size=(size, size), mode="bilinear", align_corners=False)
    s, m = forward(z, kept[44], noise(0)), (2 * 4 / 255) / 3 / 1000
    for number, k in enumerate(reversed(range(45))):
        i = kept[k]
        predicted, logits = network(s, i).chunk(2, 1)
        clean = ((s - math.sqrt(1 - bar(i)) * predicted) / math.sqrt(bar(i))).clamp(-1, 1)
        mean, small, beta = posterior(clean, s, kept, k)
        small = small if k else posterior(clean, s, kept, 1)[1]
        share = (logits + 1) / 2
        variance = torch.exp(share * math.log(beta) + (1 - share) * math.log(small))
        slope = -2 * (s - z) / (60 * 3 * 256 * 256)
        mean = mean + variance * slope * math.sqrt(1 - bar(i)) / (m * math.sqrt(bar(i)))
        s = mean + (variance.sqrt() * noise(1 + 2 * number) if k else 0)
    return ((s + 1) / 2).clamp(0, 1)


def adam(z, denoise, sigmas, noises):
    """Adam as in its paper (Kingma & Ba 2015, algorithm 1) on the denoising error, image by image."""
    out = []
    for place in range(len(z)):
        image = z[place : place + 1]
        m = v = torch.zeros_like(image)
        for step in range(5):
            sigma = sigmas[step][place : place + 1]
            leaf = image.clone().requires_grad_()
            loss = ((denoise(leaf + sigma * noises[step][place], sigma) - leaf) ** 2).mean()
            (slope,) = torch.autograd.grad(loss, leaf)
            m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
            image = image - 0.1 * (m / (1 - 0.9 ** (step + 1))) / ((v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
        out.append(image)
    return ((torch.cat(out) + 1) / 2).clamp(0, 1)


def mixture(x, reference, cutoff):
    """FreqPure's exchange of amplitudes and phases below a frequency, channel by channel, with a discrete transform."""
    height, width = x.shape[-2:]
    rows = np.exp(-2j * np.pi * np.outer(np.arange(height), np.arange(height)) / height)
    columns = np.exp(-2j * np.pi * np.outer(np.arange(width), np.arange(width)) / width)

    def waves(image):
        return rows @ np.clip((image.numpy() + 1) / 2 * 255, 0, 255) @ columns

    ours, theirs = waves(x), waves(reference)
    for u in range(height):
        for v in range(width):
            frequency = math.hypot(u if u < height / 2 else u - height, v if v < width / 2 else v - width)
            if frequency <= cutoff:
                ours[..., u, v] = np.abs(theirs[..., u, v]) * np.exp(1j * np.angle(theirs[..., u, v]))
    back = np.abs(rows.conj() @ ours @ columns.conj() / (height * width))
    return torch.from_numpy(np.clip(back, 0, 255) / 255 * 2 - 1)


def freqpure(z, network, noise, runs, cutoff):
    """The second script for CIFAR-10: the reference is the run's input after index 50 and back in one step."""
    number = 0
    for total, count in runs:
        seq = [total * (k + 1) // count - 1 for k in range(count)]
        s = forward(z, total - 1, noise(number))
        number += 1
        for i, j in zip(reversed(seq), [*reversed(seq[:-1]), -1], strict=True):
            noisy = forward(z, 50, noise(number + 1))
            reference = (noisy - math.sqrt(1 - bar(50)) * network(noisy, 50)) / math.sqrt(bar(50))
            predicted = network(s, i)
            clean = (s - math.sqrt(1 - bar(i)) * predicted) / math.sqrt(bar(i))
            clean = mixture(clean, reference, cutoff)
            first = math.sqrt((1 - bar(i) / bar(j)) * (1 - bar(j)) / (1 - bar(i)))
            second = math.sqrt(max(1 - bar(j) - first**2, 0))
            s = math.sqrt(bar(j)) * clean + first * noise(number) + second * predicted
            number += 2
        z = s
    return (z + 1) / 2
