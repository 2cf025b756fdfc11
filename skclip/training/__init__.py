"""Contrastive training of CLIP models in torch, and saving and loading the models.

Models that only embed images and texts are loaded with `skclip.load_encoder` instead.
"""

from skclip.checkpoints.load import load_model
from skclip.checkpoints.save import save_model
from skclip.model.clip import CLIP
from skclip.model.config import CLIPConfig, PreprocessConfig, TextConfig, VisionConfig
from skclip.model.tokenizer import Tokenizer, train_tokenizer
from skclip.training.augment import Augmentation
from skclip.training.losses import InfoNCE
from skclip.training.trainer import Trainer

__all__ = [
    "CLIP",
    "Augmentation",
    "CLIPConfig",
    "InfoNCE",
    "PreprocessConfig",
    "TextConfig",
    "Tokenizer",
    "Trainer",
    "VisionConfig",
    "load_model",
    "save_model",
    "train_tokenizer",
]
