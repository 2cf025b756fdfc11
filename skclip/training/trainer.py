"""The contrastive trainer."""

import hashlib
import os
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from numbers import Integral

import numpy as np
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from skclip._torch_compat import cpu_multiplies_bfloat16
from skclip.encode.devices import DTYPES, resolve_device
from skclip.exceptions import CheckpointError
from skclip.model.config import PreprocessConfig
from skclip.training.data import Pairs, shuffled
from skclip.training.losses import InfoNCE
from skclip.training.schedule import warmup_cosine

_SECONDS_BETWEEN_SAVES = 60
_STEPS_BETWEEN_REPORTS = 20


class Trainer:
    """Train a CLIP model on images and captions.

    Parameters
    ----------
    model : CLIP
        The model to train. It is changed in place.
    tokenizer : Tokenizer
        Its vocabulary, context length and end token must fit the model.
    preprocess_config : PreprocessConfig or None, default=None
        Its mean and standard deviation normalize the pixels. The images must have the model's size
        already, so nothing is resized. Save the trained model with this configuration. None means
        the default configuration at the model's image size.
    loss : callable or None, default=None
        Called as ``loss(images, texts, logit_scale, groups)`` with normalized embeddings of shape
        (batch, dim), the factor on their similarities, and one int per pair that is equal for equal
        captions. Returns a scalar tensor. None means `InfoNCE`.
    augment : callable or None, default=None
        Called as ``augment(pixels, generator)`` with pixels of shape (batch, 3, height, width) in
        [0, 1] and a `torch.Generator`; returns changed pixels of the same shape, such as
        `Augmentation`. None leaves the images unchanged.
    n_steps : int, default=1000
        Optimizer steps of the whole run, at least 1.
    batch_size : int, default=256
        Pairs per step. If there are fewer pairs, a step takes all of them.
    lr : float, default=1e-3
        Peak learning rate.
    weight_decay : float, default=0.1
        Weight decay of matrices and convolutions; gains, biases and the logit scale have none.
    warmup : float, default=0.05
        Fraction of the steps, from 0 to 1, over which the learning rate rises linearly. After that
        it falls along a cosine.
    max_grad_norm : float or None, default=None
        Largest norm of the gradient; longer gradients are scaled down to it. None means no limit.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Number format of the towers' arithmetic. Weights, loss and optimizer stay in float32. "auto"
        is bfloat16 if the hardware supports it, else float32.
    device : str, default="auto"
        Device to train on. "auto" is the first CUDA device, or the CPU if there is none. The model
        stays on this device after training.
    random_state : int, default=0
        Seed of the order of the pairs and of the augmentation. It does not set the model's initial
        weights, which are drawn when the model is created; call `torch.manual_seed` before that.

    Attributes
    ----------
    losses_ : ndarray of shape (n_steps,)
        Loss of each batch.

    See Also
    --------
    save_model : Save the trained model.
    load_model : Load a trained model, to use it or to train it further.

    Notes
    -----
    Training follows Radford et al. 2021, sections 2.3 to 2.5: AdamW (Loshchilov and Hutter 2019), a
    cosine schedule, and a logit scale that is kept at or below ln(100).

    Examples
    --------
    >>> import numpy as np
    >>> from skclip.training import CLIP, CLIPConfig, TextConfig, Trainer, VisionConfig
    >>> from skclip.training import train_tokenizer
    >>> images = np.zeros((8, 16, 16, 3), np.uint8)
    >>> images[4:] = 255
    >>> captions = ["black"] * 4 + ["white"] * 4
    >>> tokenizer = train_tokenizer(captions, vocab_size=520, context_length=8)
    >>> config = CLIPConfig(
    ...     embed_dim=8,
    ...     vision=VisionConfig(image_size=16, patch_size=16, width=64, layers=1),
    ...     text=TextConfig(len(tokenizer.vocab), context_length=8, width=64, layers=1),
    ... )
    >>> trainer = Trainer(CLIP(config), tokenizer, n_steps=20, batch_size=8)
    >>> trainer.fit((images, captions)).losses_.shape
    (20,)
    """

    def __init__(
        self,
        model,
        tokenizer,
        *,
        preprocess_config=None,
        loss=None,
        augment=None,
        n_steps=1000,
        batch_size=256,
        lr=1e-3,
        weight_decay=0.1,
        warmup=0.05,
        max_grad_norm=None,
        precision="auto",
        device="auto",
        random_state=0,
    ):
        self.model = model
        self.tokenizer = tokenizer
        if preprocess_config is None:
            preprocess_config = PreprocessConfig(image_size=model.config.vision.image_size)
        self.preprocess_config = preprocess_config
        self.loss = InfoNCE() if loss is None else loss
        self.augment = augment
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.max_grad_norm = max_grad_norm
        self.precision = precision
        self.device = device
        self.random_state = random_state

    def fit(self, data, *, state_file=None, verbose=0):
        """Train on pairs of images and captions.

        Parameters
        ----------
        data : tuple (images, captions), or callable
            The images are a uint8 array of shape (n, image_size, image_size, 3), or any object with
            a length for which ``images[indices]`` is such an array. The captions are a sequence of
            n str. A callable is called with the number of each epoch, starting at 0, and returns
            such a tuple; the same number must always give the same pairs.
        state_file : path or None, default=None
            File that stores the state of the run: it is written every minute, at the end, and
            before a KeyboardInterrupt ends the run. If the file exists, training resumes from it,
            with the same result as an uninterrupted run. None stores nothing.
        verbose : int, default=0
            Values above 0 show a progress bar with the loss.

        Returns
        -------
        self : Trainer
            With the trained model, in evaluation mode, as ``self.model``.

        Raises
        ------
        CheckpointError
            If `state_file` was written by a run with another model configuration, tokenizer,
            preprocessing, precision or other numbers. The caller must see to it that the loss, the
            augmentation and the data are the same.
        ValueError
            If a number is out of range, or the model, the tokenizer, the preprocessing
            configuration and the images do not fit each other.
        FloatingPointError
            If the loss is no longer finite.
        """
        _check_numbers(self)
        _check_sizes(self.model, self.tokenizer, self.preprocess_config)
        device = resolve_device(self.device)
        precision = resolve_precision(self.precision, device)
        # channels last is the layout of the images, and makes convolutions faster
        model = self.model.to(device, memory_format=torch.channels_last).train()
        optimizer = make_optimizer(model, self.lr, self.weight_decay)
        run = _Run(model, optimizer, state_file, self._settings(precision))
        progress = tqdm(total=self.n_steps, initial=run.step, unit="step", disable=not verbose)
        with progress, _interrupts_between_steps(state_file is not None) as check_interrupt:
            while run.step < self.n_steps:
                for batch in self._epoch(data, run):
                    optimizer.zero_grad()
                    loss = self._loss_of(batch, run.step, device, precision)
                    loss.backward()
                    self._update(optimizer, run.step)
                    run.finish_step(loss.detach())
                    progress.update()
                    if run.step % _STEPS_BETWEEN_REPORTS == 0 or run.step == self.n_steps:
                        progress.set_postfix(loss=f"{run.check_loss():.3f}")
                    check_interrupt(run.save)
        run.save()
        self.model.to(memory_format=torch.contiguous_format).eval()
        self.losses_ = torch.stack(run.losses).cpu().numpy()
        return self

    def _epoch(self, data, run):
        """Yield the remaining batches of the run's current epoch."""
        if callable(data):
            run.pairs = Pairs(*data(run.epoch), self.tokenizer)
        elif run.pairs is None:
            run.pairs = Pairs(*data, self.tokenizer)
        batches = shuffled(len(run.pairs), self.batch_size, self.random_state, run.epoch)
        for indices in batches[run.step - run.epoch_start :][: self.n_steps - run.step]:
            yield run.pairs.take(indices)
        run.epoch, run.epoch_start = run.epoch + 1, run.step

    def _loss_of(self, batch, step, device, precision):
        images = batch.images.to(device).float() / 255
        _check_image_size(images, self.model)
        if self.augment is not None:
            seed = np.random.SeedSequence([self.random_state, step]).generate_state(1)[0]
            images = self.augment(images, torch.Generator().manual_seed(int(seed)))
        mean, std = (
            torch.tensor(values, device=device).view(3, 1, 1)
            for values in (self.preprocess_config.mean, self.preprocess_config.std)
        )
        groups = batch.groups.to(device)
        enabled = precision is not torch.float32
        with torch.autocast(device.type, precision, enabled=enabled):
            images = self.model.encode_image((images - mean) / std)
            texts = self.model.encode_text(batch.token_ids.to(device))[groups]
        images, texts = (F.normalize(x.float(), dim=-1) for x in (images, texts))
        return self.loss(images, texts, self.model.logit_scale.exp(), groups)

    def _update(self, optimizer, step):
        n_warmup = min(round(self.warmup * self.n_steps), self.n_steps - 1)
        for group in optimizer.param_groups:
            group["lr"] = self.lr * warmup_cosine(step, self.n_steps, n_warmup)
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        optimizer.step()
        self.model.clamp_logit_scale_()

    def _settings(self, precision):
        """Return the settings that an interrupted run and its continuation must share."""
        names = "n_steps batch_size lr weight_decay warmup max_grad_norm random_state"
        names += " preprocess_config"
        return {name: repr(getattr(self, name)) for name in names.split()} | {
            "config": repr(asdict(self.model.config)),
            "precision": str(precision),
            "tokenizer": _digest(self.tokenizer),
        }


class _Run:
    """The state of a run, and the file that stores it."""

    def __init__(self, model, optimizer, state_file, settings):
        self.model = model
        self.optimizer = optimizer
        self.state_file = state_file
        self.settings = settings
        self.step = self.epoch = self.epoch_start = 0
        self.losses = []
        self.pairs = None
        self.saved_at = time.monotonic()
        if state_file is not None and os.path.exists(state_file):
            self._load()

    def finish_step(self, loss):
        self.losses.append(loss)
        self.step += 1
        if time.monotonic() - self.saved_at > _SECONDS_BETWEEN_SAVES:
            self.save()

    def check_loss(self):
        """Return the mean of the latest losses; raise an error if it is not finite."""
        loss = torch.stack(self.losses[-_STEPS_BETWEEN_REPORTS:]).mean().item()
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} after {self.step} steps; lower lr, or set max_grad_norm"
            )
        return loss

    def save(self):
        """Write a new file and rename it, so that the state file is never half written."""
        if self.state_file is None:
            return
        self.check_loss()
        state = {
            "settings": self.settings,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": [self.step, self.epoch, self.epoch_start],
            "losses": torch.stack(self.losses),
        }
        part = f"{os.fspath(self.state_file)}.part"
        torch.save(state, part)
        os.replace(part, self.state_file)
        self.saved_at = time.monotonic()

    def _load(self):
        state = torch.load(self.state_file, map_location="cpu", weights_only=True)
        stored = state["settings"]
        # older state files call this setting preprocess
        stored.setdefault("preprocess_config", stored.get("preprocess"))
        different = [name for name, value in self.settings.items() if stored.get(name) != value]
        if different:
            name = different[0]
            raise CheckpointError(
                f"'{os.fspath(self.state_file)}' was written by a run with "
                f"{name}={stored.get(name)}, this one has {name}={self.settings[name]}; "
                "use the same settings, or another file"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.epoch, self.epoch_start = state["progress"]
        self.losses = list(state["losses"].to(next(self.model.parameters()).device))


def resolve_precision(precision, device):
    """Return the torch dtype of the towers' arithmetic.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
    device : torch.device
    """
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported()
        else:
            fast = cpu_multiplies_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    if precision not in DTYPES:
        raise ValueError(f"precision must be 'auto', 'float32' or 'bfloat16', got {precision!r}")
    return DTYPES[precision]


def make_optimizer(model, lr, weight_decay):
    """Return an AdamW optimizer that does not decay gains, biases and the logit scale."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), eps=1e-6)


@contextmanager
def _interrupts_between_steps(enabled):
    """Delay a KeyboardInterrupt until the current step is complete and saved.

    Yields a function to call after each step. It takes the function that saves the run; after
    Ctrl-C it calls that function and raises KeyboardInterrupt.
    """
    # Python allows signal handlers in the main thread only; a process under nohup ignores Ctrl-C
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not enabled or not in_main_thread or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield lambda save: None
        return
    interrupted = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda *_: interrupted.set())

    def check(save):
        if interrupted.is_set():
            save()
            raise KeyboardInterrupt

    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous)


def _check_numbers(trainer):
    for name in ("n_steps", "batch_size"):
        value = getattr(trainer, name)
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be an int of at least 1, got {value!r}")
    if not 0 <= trainer.warmup <= 1:
        raise ValueError(f"warmup must be a fraction between 0 and 1, got {trainer.warmup!r}")
    for name in ("lr", "weight_decay"):
        if not getattr(trainer, name) >= 0:
            raise ValueError(f"{name} must not be negative, got {getattr(trainer, name)!r}")


def _digest(tokenizer):
    content = repr((sorted(tokenizer.vocab.items()), tokenizer.merges, tokenizer.context_length))
    return hashlib.sha256(content.encode()).hexdigest()


def _check_sizes(model, tokenizer, preprocess_config):
    if preprocess_config.image_size != model.config.vision.image_size:
        raise ValueError(
            f"preprocess_config has image_size={preprocess_config.image_size}, but the model takes "
            f"{model.config.vision.image_size}"
        )
    text = model.config.text
    if len(tokenizer.vocab) > text.vocab_size or tokenizer.context_length > text.context_length:
        raise ValueError(
            f"the tokenizer has {len(tokenizer.vocab)} symbols and a context length of "
            f"{tokenizer.context_length}, but the model takes at most {text.vocab_size} and "
            f"{text.context_length}"
        )
    if tokenizer.end_id != text.end_token_id:
        raise ValueError(
            f"the tokenizer's end token is {tokenizer.end_id}, but the model pools text at "
            f"{text.end_token_id}"
        )


def _check_image_size(images, model):
    size = model.config.vision.image_size
    if images.shape[2:] != (size, size):
        raise ValueError(
            f"images must be {size} by {size} pixels for this model, got {tuple(images.shape[2:])}"
        )
