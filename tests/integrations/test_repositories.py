"""Tests the adapters on small classes in the layouts of the repositories, by running the page that shows them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    UNet2DModel,
)
from torch import nn

from purebench.core.defense import as_defense, fingerprint
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec, create
from purebench.core.seeds import seeded
from purebench.defenses.diffusion.chain import seeded_noise
from purebench.defenses.diffusion.sampling import noise_levels
from purebench.integrations.repositories import from_diffhammer, from_diffpure, from_lee_kim, from_pipeline

from repository_stand_ins import (  # isort: skip
    STAND_INS,
    DiffPureClassifier,
    Network,
    PurificationForward,
    SDE_Adv_Model,
    arguments,
    classifier,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "from-a-repository.md"
MOST_LINES = 15


def blocks():
    """Return the Python blocks of the page by file name."""
    found = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return dict(found)


@pytest.fixture
def x():
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A working directory with the files of the page, beside modules in the layout of the repositories."""
    for name, text in blocks().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name, contents in STAND_INS.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    # other tests put benchmarks/ there, which has a module of the same name as a repository's
    monkeypatch.setattr(sys, "path", [place for place in sys.path if Path(place).name != "benchmarks"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "forward"),
    [
        (
            "lee_kim.py:defense",
            lambda: PurificationForward(
                classifier(), Network(), [199], [[39, 79, 119, 159, 199]], "ddpm", False, "cpu"
            ),
        ),
        ("diffpure_release.py:defense", lambda: SDE_Adv_Model(arguments(), None)),
        ("flowpure.py:defense", lambda: DiffPureClassifier(Network(), classifier(), {})),
    ],
)
def test_defense_of_the_page_answers_as_the_repositorys_own_forward(repository, x, file, forward):
    made = as_defense(create("defenses", Spec(file)))
    with seeded("answer"):
        found = made(x)
    with seeded("answer"):
        assert torch.allclose(found, forward()(x), atol=1e-6)
    assert made.random
    with torch.no_grad():
        assert made(x).shape == (3, 5)
    assert not any(parameter.requires_grad for parameter in made.parameters())


def test_blocks_of_the_page_are_short_and_all_of_them_run(repository, x):
    for name, text in blocks().items():
        lines = [line for line in text.splitlines() if line.strip()]
        assert len(lines) <= MOST_LINES, name
    assert create("defenses", Spec("anything.py:purifier"))(x).shape == x.shape
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
    DDPMPipeline(unet(), scheduler).save_pretrained("ddpm-cifar10-32")
    purifier = create("defenses", Spec.parse("pipeline.py:purifier(t=20, steps=2)"))
    assert purifier(x).shape == x.shape


def unet():
    with seeded("unet"):
        return UNet2DModel(
            sample_size=8,
            block_out_channels=(8, 8),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            add_attention=False,
        ).eval()


def test_weights_of_the_repository_are_part_of_the_defense(x):
    made = from_lee_kim(PurificationForward(classifier(), Network(), [9], [[9]], "ddpm", False, "cpu"))
    before = fingerprint(made)
    with torch.no_grad():
        made.purifier.models[0].diffusion.layer.bias.add_(1)
    assert fingerprint(made) != before


def test_gradient_of_lee_kim_is_that_of_their_forward(x):
    model = PurificationForward(classifier(), Network(), [50], [[24, 49]], "ddpm", False, "cpu")
    slopes = []
    for call in (from_lee_kim(model), model):
        asked = x.clone().requires_grad_()
        with seeded("gradient"):
            slopes.append(torch.autograd.grad(call(asked).square().sum(), asked)[0])
    assert torch.allclose(*slopes, atol=1e-6)
    assert slopes[0].abs().max() > 1e-3


def test_lee_kim_for_imagenet_needs_a_classifier_that_normalises(x):
    model = PurificationForward(classifier(), Network(), [9], [[9]], "ddpm", True, "cpu")
    with pytest.raises(PurebenchError, match="expected a classifier that normalises its input"):
        from_lee_kim(model)

    class Normalised(nn.Module):
        def forward(self, images):
            return model.clf((images - 0.4) / 0.2)

    with seeded("imagenet"):
        found = from_lee_kim(model, classifier=Normalised())(x)
    with seeded("imagenet"):
        assert torch.allclose(found, model(x), atol=1e-5)


def test_the_attacks_model_of_lee_kim_is_the_surrogate(x):
    model = PurificationForward(classifier(), Network(), [50], [[24, 49]], "ddpm", False, "cpu")
    attacked = PurificationForward(model.clf, model.diffusion, [50], [[49]], "ddpm", False, "cpu")
    purifier = from_lee_kim(model, attacked=attacked).purifier
    with seeded("surrogate"):
        found = purifier.surrogate(x)
    with seeded("surrogate"):
        assert torch.equal(found, attacked.preprocess(x))
    assert from_lee_kim(model).purifier.surrogate(x) is x


@pytest.mark.parametrize(("kind", "differentiable"), [("sde", True), ("ode", True), ("ddpm", False)])
def test_diffpure_is_differentiable_where_its_runner_is(x, kind, differentiable):
    made = from_diffpure(SDE_Adv_Model(arguments(diffusion_type=kind), None))
    assert made.purifier.differentiable is differentiable
    assert made.purifier(x.clone().requires_grad_()).requires_grad is differentiable


def test_diffpure_for_imagenet_purifies_at_256_pixels(x):
    model = SDE_Adv_Model(arguments(domain="imagenet"), None)
    with seeded("imagenet"):
        found = from_diffpure(model)(x)
    with seeded("imagenet"):
        assert torch.allclose(found, model(x), atol=1e-6)
    assert model.runner.sizes == [256, 256]


def test_diffhammer_has_no_gradient(x):
    made = from_diffhammer(DiffPureClassifier(Network(), classifier(), {}))
    assert made.purifier.differentiable is False
    assert not made.purifier(x.clone().requires_grad_()).requires_grad


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("clip", [True, False])
def test_pipeline_purifies_as_its_scheduler_samples(x, variance, clip):
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_end=0.015, variance_type=variance, clip_sample=clip)
    purifier = from_pipeline(DDPMPipeline(unet(), scheduler), t=6, steps=6)
    with seeded("pipeline"), torch.no_grad():
        found = purifier(x)
    with seeded("pipeline"):
        first, *seeds = torch.randint(2**62, (7,)).tolist()
    level = scheduler.alphas_cumprod[5]
    state = level.sqrt() * (2 * x - 1) + (1 - level).sqrt() * seeded_noise(x, first)
    for t, seed in zip(reversed(range(6)), seeds, strict=True):
        with torch.no_grad():
            predicted = unet()(state, t).sample
        step = scheduler.step(predicted, t, state, generator=torch.Generator().manual_seed(seed))
        state = step.prev_sample
    assert torch.allclose(found, ((state + 1) / 2).clamp(0, 1), atol=1e-4)
    assert not torch.allclose(purifier.levels[:-1], noise_levels(), atol=1e-3), "the schedule is the pipeline's"


@pytest.mark.parametrize(
    ("stated", "name"), [({"thresholding": True}, "thresholding"), ({"clip_sample_range": 2}, "clip_")]
)
def test_other_clipping_of_a_pipeline_is_rejected_unless_the_user_chooses(x, stated, name):
    pipeline = DDPMPipeline(unet(), DDPMScheduler(**stated))
    with pytest.raises(PurebenchError, match=f"expected .*{name}.*pass clip=True"):
        from_pipeline(pipeline)
    for clip in (True, False):
        assert from_pipeline(pipeline, clip=clip).clip is clip
    unclipped = DDPMScheduler(clip_sample=False, clip_sample_range=2)
    assert from_pipeline(DDPMPipeline(unet(), unclipped)).clip is False, "the range has no effect"


def test_schedule_of_a_pipeline_is_that_of_its_betas(x):
    """Whether they are trained, or rescaled so that nothing of the image is left at the end."""
    trained = DDPMScheduler(trained_betas=[0.01] * 20, num_train_timesteps=20)
    found = from_pipeline(DDPMPipeline(unet(), trained), t=5, steps=5).levels[:20]
    assert torch.allclose(found, 0.99 ** torch.arange(1, 21), rtol=1e-5)
    pipeline = DDPMPipeline(unet(), DDPMScheduler(rescale_betas_zero_snr=True))
    with pytest.raises(PurebenchError, match="at t=1000 its alpha-bar is 0; choose a smaller t"):
        from_pipeline(pipeline, t=1000)
    assert from_pipeline(pipeline, t=999, steps=2)(x).isfinite().all()
    for t in (10.5, "a", None):
        with pytest.raises(PurebenchError, match=r"expected whole t in 1\.\.1000"):
            from_pipeline(pipeline, t=t)
    pipeline.scheduler.alphas_cumprod = pipeline.scheduler.alphas_cumprod * float("nan")
    with pytest.raises(PurebenchError, match="expected finite alphas_cumprod"):
        from_pipeline(pipeline)


def test_a_pipeline_whose_scheduler_clips_nothing_is_not_clipped():
    """PNDMScheduler has no clip_sample."""
    assert from_pipeline(DDPMPipeline(unet(), PNDMScheduler())).clip is False


def test_other_pipelines_and_layouts_are_rejected():
    with pytest.raises(PurebenchError, match="predicts the noise"):
        from_pipeline(DDPMPipeline(unet(), DDIMScheduler(prediction_type="v_prediction")))
    with pytest.raises(PurebenchError, match="learned_range"):
        from_pipeline(DDPMPipeline(unet(), DDPMScheduler(variance_type="learned_range")))
    with pytest.raises(PurebenchError, match=r"pipeline's scheduler.*alphas_cumprod"):
        from_pipeline(SimpleNamespace(unet=unet(), scheduler=FlowMatchEulerDiscreteScheduler()))
    for adapt, names in (
        (from_lee_kim, "preprocess, clf, is_imagenet"),
        (from_diffpure, "runner, classifier, args"),
        (from_diffhammer, "purify, classifier"),
        (from_pipeline, "unet, scheduler"),
    ):
        with pytest.raises(PurebenchError, match=f"with {names}, but Identity has no"):
            adapt(nn.Identity())
