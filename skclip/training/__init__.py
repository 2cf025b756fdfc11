"""Contrastive training of both towers, in torch."""

from skclip.training.losses import InfoNCE
from skclip.training.trainer import Trainer

__all__ = ["InfoNCE", "Trainer"]
