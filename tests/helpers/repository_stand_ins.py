"""Small classes in the layouts of repositories of purifiers: Lee & Kim's, DiffPure's and DiffHammer's."""

import sys
from argparse import Namespace
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F

from purebench.core.seeds import seeded


def classifier():
    with seeded("classifier"):
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).eval()


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        with seeded("network"):
            self.layer = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x, t):
        return torch.tanh(self.layer(x)) + t.view(-1, 1, 1, 1) / 1000


class PurificationForward(nn.Module):
    """The attributes and methods of Lee & Kim's class; each step removes a share of the predicted noise."""

    def __init__(self, clf, diffusion, max_timestep, attack_steps, sampling_method, is_imagenet, device):
        super().__init__()
        self.clf, self.diffusion, self.is_imagenet = clf, diffusion, is_imagenet
        self.max_timestep, self.attack_steps = max_timestep, attack_steps

    def purified(self, x):
        for t, steps in zip(self.max_timestep, self.attack_steps, strict=True):
            x = x + t / 1000 * torch.randn_like(x)
            for step in reversed(steps):
                x = x - 0.1 * self.diffusion(x, torch.full((len(x),), float(step)))
        return x

    def preprocess(self, x):
        if self.is_imagenet:
            x = F.interpolate(x, size=(256, 256), mode="bilinear", align_corners=False)
        return (self.purified(2 * x - 1) + 1) / 2

    def forward(self, x):
        z = self.purified(2 * (bilinear(x, 256) if self.is_imagenet else x) - 1)
        if self.is_imagenet:
            return self.clf(((bilinear(z, 8) + 1) / 2 - 0.4) / 0.2)
        return self.clf((z + 1) / 2)


def bilinear(x, size):
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)


class Runner:
    """The method of DiffPure's runners; from batch 2 on, it writes no pictures."""

    def __init__(self, args, under_no_grad):
        self.args, self.no_grad, self.sizes = args, under_no_grad, []

    def image_editing_sample(self, img, bs_id=0, tag=None):
        assert bs_id >= 2, "the runner would write pictures"
        self.sizes.append(img.shape[-1])
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.no_grad):
            return 0.9 * img + 0.1 * torch.randn_like(img)


class SDE_Adv_Model(nn.Module):
    def __init__(self, args, config):
        super().__init__()
        self.args, self.classifier = args, classifier()
        self.runner = Runner(args, args.diffusion_type not in ("sde", "ode", "ldsde"))

    def forward(self, x):
        imagenet = "imagenet" in self.args.domain
        z = self.runner.image_editing_sample(((bilinear(x, 256) if imagenet else x) - 0.5) * 2, bs_id=5)
        return self.classifier(((bilinear(z, x.shape[-1]) if imagenet else z) + 1) * 0.5)


class DiffPureClassifier(nn.Module):
    """DiffHammer's layout: purify detaches, and needs gradients inside as its likelihood maximisation does."""

    def __init__(self, diffusion, classifier, config):
        super().__init__()
        self.diffusion, self.classifier = diffusion, classifier

    def purify(self, x, backward=False, seeds=None):
        x = (x - 0.5) * 2
        x.requires_grad_(True)
        loss = (self.diffusion(x + torch.randn_like(x), torch.zeros(len(x))) ** 2).sum()
        loss.backward()
        return (x - 0.01 * x.grad).detach() / 2 + 0.5

    def forward(self, x, backward=False):
        return self.classifier(self.purify(x, backward).detach().clone())


def arguments(**more):
    return Namespace(**{"domain": "cifar10", "diffusion_type": "sde", "log_dir": "", **more})


STAND_INS = {
    "load_model": {"load_models": lambda args, src, device: (classifier(), Network())},
    "path": {"diffusion_model_path": {"cifar10": "checkpoint_8.pth"}},
    "purification": {"PurificationForward": PurificationForward},
    "eval_sde_adv": {
        "SDE_Adv_Model": SDE_Adv_Model,
        "parse_args_and_config": lambda: (arguments(domain=sys.argv[sys.argv.index("--domain") + 1]), None),
    },
    "config": {
        "get_config": lambda method, dataset, attack, seed, batch, size: SimpleNamespace(
            DEFENSE=SimpleNamespace(DIFFUSION_NAME="score_sde_c10", CLASSIFIER_NAME="wrn_c10", DIFFPURE={})
        )
    },
    "defense": {"DiffPureClassifier": DiffPureClassifier},
    "utils": {"get_model": lambda name: Network() if name == "score_sde_c10" else classifier()},
}
"""Contents of the modules of the repositories that the blocks of the page import, by module."""
