"""3D UX-Net, written from arXiv 2209.15076; the blocks of its decoder are MONAI's."""

from monai.networks.blocks import UnetOutBlock
from torch import Tensor, nn

from mednext_cli.networks.baselines.convolutions import residual_block, upsampling_block
from mednext_cli.networks.baselines.uxnet.encoder import Encoder
from mednext_cli.networks.baselines.uxnet.family import UXNetSettings


class UXNet(nn.Module):
    """Takes images (B, in_channels, D, H, W), gives logits (B, out_channels, D, H, W).

    Attributes have the published names, so that weights need none of their own.

    Args:
        settings: of the network.
        in_channels: channels of the image.
        out_channels: classes with the background, or regions.
    """

    def __init__(self, settings: UXNetSettings, in_channels: int, out_channels: int) -> None:
        super().__init__()
        first, second, third, fourth = settings.feat_size
        self.uxnet_3d = Encoder(settings, in_channels)
        self.encoder1 = residual_block(in_channels, first)
        self.encoder2 = residual_block(first, second)
        self.encoder3 = residual_block(second, third)
        self.encoder4 = residual_block(third, fourth)
        self.encoder5 = residual_block(fourth, settings.hidden_size)
        self.decoder5 = upsampling_block(settings.hidden_size, fourth)
        self.decoder4 = upsampling_block(fourth, third)
        self.decoder3 = upsampling_block(third, second)
        self.decoder2 = upsampling_block(second, first)
        self.decoder1 = residual_block(first, first)
        self.out = UnetOutBlock(3, first, out_channels)

    def forward(self, image: Tensor) -> Tensor:
        """Edges of the image are multiples of 16."""
        half, quarter, eighth, sixteenth = self.uxnet_3d(image)
        decoded = self.decoder5(self.encoder5(sixteenth), self.encoder4(eighth))
        decoded = self.decoder4(decoded, self.encoder3(quarter))
        decoded = self.decoder3(decoded, self.encoder2(half))
        decoded = self.decoder2(decoded, self.encoder1(image))
        logits: Tensor = self.out(self.decoder1(decoded))
        return logits

    @property
    def recomputable(self) -> list[nn.Module]:
        """Parts between which gradient checkpointing keeps activations."""
        encoders = (self.encoder1, self.encoder2, self.encoder3, self.encoder4, self.encoder5)
        decoders = (self.decoder5, self.decoder4, self.decoder3, self.decoder2, self.decoder1)
        return [*self.uxnet_3d.recomputable, *encoders, *decoders]
