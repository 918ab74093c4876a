"""The denoiser: noise schedule, U-Net, Gaussian diffusion, and the frozen guidance that DiG takes from it."""

from .gaussian import GaussianDiffusion, build_denoiser
from .guidance import GUIDANCE_MODES, Guidance, GuidanceOutput
from .unet import UNet

__all__ = ["GUIDANCE_MODES", "GaussianDiffusion", "Guidance", "GuidanceOutput", "UNet", "build_denoiser"]
