"""MONAI's residual blocks, as UNETR introduced them and Swin UNETR and 3D UX-Net use them.

Instance norm without weights, leaky ReLU, convolutions of 3 x 3 x 3 without bias.
"""

from functools import partial

from monai.networks.blocks import UnetrBasicBlock, UnetrUpBlock

# (in_channels, out_channels): the same resolution.
residual_block = partial(
    UnetrBasicBlock, 3, kernel_size=3, stride=1, norm_name="instance", res_block=True
)
# (in_channels, out_channels): called with a map and with a skip of twice its resolution.
upsampling_block = partial(
    UnetrUpBlock, 3, kernel_size=3, upsample_kernel_size=2, norm_name="instance", res_block=True
)
