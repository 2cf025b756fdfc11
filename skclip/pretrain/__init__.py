"""Contrastive training of both towers, in torch."""

from skclip.pretrain.losses import InfoNCE
from skclip.pretrain.trainer import Trainer

__all__ = ["InfoNCE", "Trainer"]
