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

from purebench.defenses.mlvgm.model import MLVGM, Mix
from purebench.defenses.mlvgm.stylegan.generator import Generator
from purebench.defenses.mlvgm.stylegan.irse import DEPTHS, REDUCTION, WIDTHS, Pyramid
from purebench.defenses.mlvgm.stylegan.styles import channels_by_side, check_images, mixed

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


class StyleTransformer(MLVGM):
    """Autoencoder of images [N,3,image,image] with 2·log2(size) - 2 codes; the defaults are the official values.

    The buffer `latent_avg` [codes,D] is added to the codes of the encoder. It is zero where the training did not start
    from the average.

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
        super().__init__()
        table = channels_by_side(channels)
        self.architecture: dict[str, Any] = {
            "size": size,
            "image": image,
            "widths": list(widths),
            "depths": list(depths),
            "reduction": reduction,
            "heads": heads,
            "hidden": hidden,
            "mappings": mappings,
            "channels": table,
        }
        self.image, self.inner, self.bar, dim = image, 2 * image, image // 4, widths[-1]
        self.decoder = Generator(size=size, style_dim=dim, mappings=mappings, channels=table)
        self.latents = self.decoder.codes
        self.encoder = Encoder(
            self.latents, widths=widths, depths=depths, reduction=reduction, heads=heads, hidden=hidden
        )
        self.register_buffer("latent_avg", torch.zeros(self.latents, dim))
        self.latent_avg: Tensor

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

    def autoencode(self, x: Tensor, mix: Mix) -> Tensor:
        """Autoencode images (see MLVGM); all codes are known before the first is mixed.

        The result may exceed [0,1] slightly; the purifier clamps it.

        Raises:
            PurebenchError: If the images have another size.
        """
        check_images(x, "style-transformer", self.image)
        return self.decode(mixed(self.encode(x), self.decoder, mix))
