"""Multi-class-token vision transformer: one class token for every object class.

A transformer of timm whose class token is repeated once per class, so that the attention of class token c over the patches
is a localisation map of class c (MCTformer, https://arxiv.org/abs/2203.02891).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from timm.layers import DropPath, resample_abs_pos_embed, trunc_normal_
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import LocalizingAttention, TimmAttention, attend, attention_of, localize
from .backbones import build_backbone, build_deit, channel_statistics, is_deit, num_registers, patch_side
from .stem import ConvStem


class ViTOutput(NamedTuple):
    """Output of the transformer for the heads and LFCA, without register tokens."""

    class_tokens: Tensor  # (B, C, D) after the last block, without a final norm
    patch_tokens: Tensor  # (B, D, h, w)
    attention: Tensor  # (B, C + N, N) paid to the patches: mean over heads, sum over blocks
    queries: tuple[Tensor, Tensor]  # of the last block and of the one before it, (B, C + N, D) each


class MultiClassTokenViT(nn.Module):
    """The transformer shared by all branches of DiG.

    It consists of the modules of timm's `VisionTransformer` or `Eva`, under timm's names; only attention is replaced, by
    `LocalizingAttention`. The order of tokens is classes, registers, patches.

    Args:
        num_classes: number of class tokens, C.
        image_size: side in pixels of the square training images; sets the grid of the stored `pos_embed`.
        patch_size: side of a patch in pixels. Incomplete patches at the right and bottom of an image are left out.
        embed_dim: token width, D.
        depth: number of blocks, at least 2.
        num_heads: attention heads; must divide `embed_dim`.
        mlp_ratio: hidden width of the MLPs, in multiples of `embed_dim`.
        drop_path: stochastic-depth rate of the last block; rises linearly from 0.
        grad_checkpoint: recompute activations in the backward pass instead of keeping them.
        stem: convolutional trunk of timm that replaces the patch embedding (`ConvStem`); empty: none.
        stem_levels: its stages whose features are used; empty: the deepest.
        backbone: timm's name of a transformer, which has its own patch size, width, depth, heads and MLP. Empty: DeiT.
        backbone_options: arguments of the backbone's constructor that replace its own, such as {"depth": 2}.

    Raises:
        InputError: the backbone cannot be used.
    """

    def __init__(
        self,
        num_classes: int = 20,
        image_size: int = 224,
        patch_size: int = 16,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.1,
        grad_checkpoint: bool = False,
        stem: str = "",
        stem_levels: tuple[int, ...] = (),
        backbone: str = "",
        backbone_options: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.backbone, self.backbone_options = backbone, dict(backbone_options or {})
        if backbone:
            vit = build_backbone(backbone, image_size, self.backbone_options)
        else:
            vit = build_deit(image_size, patch_size, embed_dim, depth, num_heads, mlp_ratio)
        self.num_classes = num_classes
        self.image_size = image_size
        self.patch_size = patch_side(vit)
        self.embed_dim = vit.embed_dim
        self.grid_size = image_size // self.patch_size
        self.grad_checkpoint = grad_checkpoint
        self.num_registers = num_registers(vit)
        self.has_class_token = vit.cls_token is not None  # before it is repeated

        self.patch_embed: nn.Module = vit.patch_embed
        self.mean, self.std = channel_statistics(vit)
        if stem:
            trunk = ConvStem(stem, self.patch_size, self.embed_dim, stem_levels)
            self.patch_embed, self.mean, self.std = trunk, trunk.mean, trunk.std
        self.cls_token = nn.Parameter(torch.zeros(1, num_classes, self.embed_dim))
        self.reg_token = vit.reg_token
        self.pos_embed: nn.Parameter | None = None
        if vit.pos_embed is not None:
            self.pos_embed = nn.Parameter(self.repeat_class_position(vit.pos_embed.detach()))
        self.rope = getattr(vit, "rope", None)
        self.fixed_rotation: dict[tuple, Tensor] = {}
        self.norm_pre = vit.norm_pre
        self.blocks = nn.ModuleList(vit.blocks)
        for i, block in enumerate(self.blocks):
            block.attn = LocalizingAttention(cast(TimmAttention, block.attn), num_classes + self.num_registers)
            block.drop_path1, block.drop_path2 = (DropPath(drop_path * i / (len(self.blocks) - 1)) for _ in range(2))
        # Unused and never trained; it exists because published checkpoints contain its parameters.
        self.norm = vit.norm.requires_grad_(False)

        trunc_normal_(self.cls_token, std=0.02)
        if not backbone:
            trunc_normal_(self.pos_embed, std=0.02)
            self.blocks.apply(init_linear)

    def forward_tokens(self, image: Tensor) -> ViTOutput:
        """Runs the transformer on normalised images (B, 3, H, W), each side at least one patch."""
        C, R = self.num_classes, self.num_registers
        patches = self.patch_embed(image)  # (B, D, h, w)
        B, D, h, w = patches.shape
        x = self.norm_pre(self.embed(patches))  # (B, C + R + N, D)

        attention_sum = x.new_zeros(())
        queries: list[Tensor] = []
        for block, rotation in zip(self.blocks, self.rotations(h, w), strict=True):
            x, attention, q = self.run(localize, block, x, rotation)
            attention_sum = attention_sum + attention[:, :, C + R :]
            queries = [*queries[-1:], q]  # only the last two are ever needed
        patch_tokens = x[:, C + R :].transpose(1, 2).reshape(B, D, h, w)
        before_last, last = (self.without_registers(q) for q in queries)
        return ViTOutput(x[:, :C], patch_tokens, self.without_registers(attention_sum), (last, before_last))

    def embed(self, patches: Tensor) -> Tensor:
        """All tokens with their positions: (B, D, h, w) -> (B, C + R + N, D)."""
        B, _, h, w = patches.shape
        tokens = [self.cls_token.expand(B, -1, -1), patches.flatten(2).transpose(1, 2)]
        if self.reg_token is not None:
            tokens.insert(1, self.reg_token.expand(B, -1, -1))
        x = torch.cat(tokens, dim=1)
        position = self.position_embedding(h, w)
        if position is None:
            return x
        without = x.shape[1] - position.shape[1]  # leading tokens that have no position
        return torch.cat((x[:, :without], x[:, without:] + position), dim=1) if without else x + position

    @property
    def num_positions_before_patches(self) -> int:
        """How many class and register tokens have a position: C + R, C or 0, depending on the backbone."""
        return 0 if self.pos_embed is None else self.pos_embed.shape[1] - self.grid_size**2

    def position_embedding(self, h: int, w: int) -> Tensor | None:
        """Position embedding for a patch grid of h x w; None if the backbone has none.

        Returns:
            (1, P + h * w, D), where P is `num_positions_before_patches`.
        """
        g, P = self.grid_size, self.num_positions_before_patches
        if self.pos_embed is None or (h, w) == (g, g):
            return self.pos_embed
        if not is_deit(self.backbone):
            return resample_abs_pos_embed(self.pos_embed, [h, w], [g, g], num_prefix_tokens=P)
        class_position, patch_position = self.pos_embed[:, :P], self.pos_embed[:, P:]
        # The + 0.1 keeps floor(g * scale) at h and w; it also shifts the sampling points, as in the published code.
        patch_position = F.interpolate(
            patch_position.reshape(1, g, g, -1).permute(0, 3, 1, 2),
            scale_factor=((h + 0.1) / g, (w + 0.1) / g),
            mode="bicubic",
        )
        return torch.cat((class_position, patch_position.flatten(2).transpose(1, 2)), dim=1)

    def repeat_class_position(self, pos_embed: Tensor) -> Tensor:
        """Repeats the class token's position: (1, 1 + R + N, D) -> (1, C + R + N, D); unchanged if it has none."""
        if not self.has_class_token or pos_embed.shape[1] == self.grid_size**2:
            return pos_embed
        return torch.cat((pos_embed[:, :1].expand(-1, self.num_classes, -1), pos_embed[:, 1:]), dim=1)

    def rotations(self, h: int, w: int) -> list[Tensor | None]:
        """Rotary positions of the patches for each block; None where the backbone has none."""
        depth = len(self.blocks)
        if self.rope is None:
            return [None] * depth
        if next(self.rope.parameters(), None) is not None:  # learned, separately for each block
            return list(self.rope.get_embed(shape=[h, w]))
        if self.training and getattr(self.rope, "aug_active", False):  # drawn anew for each image
            return [self.rope.get_embed(shape=[h, w])] * depth
        # timm computes them on the CPU; cached, because a copy to the GPU in every pass would wait for it.
        key = (h, w, self.cls_token.device)
        if key not in self.fixed_rotation:
            self.fixed_rotation = {key: self.rope.get_embed(shape=[h, w]).to(self.cls_token.device)}
        return [self.fixed_rotation[key]] * depth

    def without_registers(self, x: Tensor) -> Tensor:
        """(B, C + R + N, ...) -> (B, C + N, ...)."""
        C, R = self.num_classes, self.num_registers
        return torch.cat((x[:, :C], x[:, C + R :]), dim=1) if R else x

    def run(self, part: Callable, *inputs: object) -> Any:
        """Runs a part of the network, with activation checkpointing where it is switched on."""
        if self.grad_checkpoint and torch.is_grad_enabled():
            return checkpoint(part, *inputs, use_reentrant=False)
        return part(*inputs)

    def compile_blocks(self) -> None:
        """Compiles attention and MLP; all blocks share the compiled code of the first."""
        compiled = torch.compile(attend)
        for block in self.blocks:
            attention_of(block).attend = compiled
            block.get_submodule("mlp").compile()

    @property
    def stem(self) -> ConvStem | None:
        """The convolutional trunk in the place of the patch embedding, if there is one."""
        return self.patch_embed if isinstance(self.patch_embed, ConvStem) else None

    def no_weight_decay(self) -> set[str]:
        """Names of tokens, positions and frequencies: only matrices and kernels have weight decay."""
        return {"cls_token", "reg_token", "pos_embed", "rope.freqs"}


def init_linear(module: nn.Module) -> None:
    """DeiT's initialisation of a linear layer; other modules keep PyTorch's."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
