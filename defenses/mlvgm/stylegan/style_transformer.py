"""Style-Transformer: StyleGAN2's codes from queries that attend to an image, the paper's model for cars.

Hu et al. 2022 (arXiv:2203.07932): learned z are mapped to w and refined by three decoder layers of a transformer
(Vaswani et al. 2017, arXiv:1706.03762; normalised after each step, no positions) on the coarse, medium and fine
features of the image. The generator of cars produces 512×384 pixels in a 512×512 frame, and Serez et al. 2025
(arXiv:2412.03453) classify images of 128×128, so the bars at the top and bottom of an image are cut off, and set to
black again at the end. Parameters are named as in the official file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.defenses.mlvgm.stylegan.autoencoder import OfficialAutoencoder
from purebench.defenses.mlvgm.stylegan.irse import DEPTHS, REDUCTION, WIDTHS, Pyramid

BLACK = -1.0


class Encoder(Pyramid):
    """Encoder of images [N,3,H,W] in [-1,1] and queries [N,L,D] to codes [N,L,D]; D is the last of `widths`.

    Args:
        codes: number of codes L.
        widths: channels of the four stages.
        depths: units of the four stages.
        reduction: reduction of squeeze-and-excitation.
        heads: attention heads of the transformer.
        hidden: hidden units of the transformer.
    """

    def __init__(
        self,
        codes: int,
        *,
        widths: Sequence[int],
        depths: Sequence[int],
        reduction: int,
        heads: int,
        hidden: int,
    ):
        super().__init__(widths=widths, depths=depths, reduction=reduction)

        def layer() -> nn.TransformerDecoderLayer:
            return nn.TransformerDecoderLayer(widths[-1], heads, hidden, dropout=0.0, batch_first=True)

        self.transformerlayer_coarse, self.transformerlayer_medium, self.transformerlayer_fine = (
            layer() for _ in range(3)
        )
        self.z = nn.Parameter(torch.randn(1, codes, widths[-1]))

    def forward(self, x: Tensor, query: Tensor) -> Tensor:
        """Return codes [N,L,D]; every pixel of a feature map is one memory vector of the transformer."""
        coarse, medium, fine = (level.flatten(2).transpose(1, 2) for level in self.features(x))
        query = self.transformerlayer_coarse(query, coarse)
        query = self.transformerlayer_medium(query, medium)
        codes: Tensor = self.transformerlayer_fine(query, fine)
        return codes


class StyleTransformer(OfficialAutoencoder):
    """The autoencoder Style-Transformer; the defaults are the official values.

    Args:
        size: pixels a side of the generator's images.
        image: pixels a side of the images including the bars, a multiple of 8.
        widths: channels of the encoder's stages; the last is the length of a code.
        depths: units of the encoder's stages.
        reduction: reduction of squeeze-and-excitation.
        heads: attention heads of the transformer.
        hidden: hidden units of the transformer.
        mappings: layers of the generator from z to w.
        channels: features of the generator at each side.
    """

    name = "style-transformer"

    def __init__(
        self,
        *,
        size: int = 512,
        image: int = 128,
        widths: Sequence[int] = WIDTHS,
        depths: Sequence[int] = DEPTHS,
        reduction: int = REDUCTION,
        heads: int = 4,
        hidden: int = 1024,
        mappings: int = 8,
        channels: Mapping[int, int] | Mapping[str, int] | None = None,
    ):
        super().__init__(size=size, image=image, dim=widths[-1], mappings=mappings, channels=channels)
        sizes: dict[str, Any] = {
            "widths": list(widths),
            "depths": list(depths),
            "reduction": reduction,
            "heads": heads,
            "hidden": hidden,
        }
        self.architecture |= sizes
        self.inner, self.bar = 2 * image, image // 4
        self.encoder = Encoder(self.latents, **sizes)

    def encode(self, x: Tensor) -> Tensor:
        """Return codes [N,L,D] of images in [0,1].

        The images are enlarged to twice their size, and bars of an eighth of the height are cut off at the top and
        bottom. Enlarging mixes neighbouring rows, so a quarter of the innermost row of each bar still has an effect;
        nothing else of the bars does.
        """
        x = functional.interpolate((x - 0.5) / 0.5, size=self.inner, mode="bilinear", align_corners=False)
        query = self.decoder.mapping(self.encoder.z[0]).expand(len(x), -1, -1)
        codes: Tensor = self.encoder(x[:, :, self.bar : -self.bar], query) + self.latent_avg
        return codes

    def decode(self, codes: Tensor) -> Tensor:
        """Return images [N,3,image,image] of codes [N,L,D], about in [0,1] but not clamped; the bars are exactly 0."""
        drawn = functional.adaptive_avg_pool2d(self.decoder(codes), self.inner)
        drawn = functional.pad(drawn[:, :, self.bar : -self.bar], (0, 0, self.bar, self.bar), value=BLACK)
        small = functional.interpolate(drawn, size=self.image, mode="bilinear", align_corners=False)
        return small * 0.5 + 0.5
