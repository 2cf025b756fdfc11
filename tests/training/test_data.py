import numpy as np
import pytest

from skclip.training import train_tokenizer
from skclip.training.data import Pairs, shuffled

CAPTIONS = ["a cat", "a dog", "a cat", "a hat on a cat", "a dog"]
TOKENIZER = train_tokenizer(CAPTIONS, vocab_size=520, context_length=16)
IMAGES = np.arange(5, dtype=np.uint8).repeat(12).reshape(5, 2, 2, 3)


def test_each_image_keeps_its_caption():
    indices = np.array([4, 0, 2, 3])
    batch = Pairs(IMAGES, CAPTIONS, TOKENIZER).take(indices)
    assert batch.images[:, 0, 0, 0].tolist() == indices.tolist()
    assert len(batch.token_ids) == 3
    for i, group in zip(indices, batch.groups, strict=True):
        assert TOKENIZER.decode(batch.token_ids[group].tolist()) == CAPTIONS[i]


def test_every_epoch_is_another_order_of_the_same():
    epochs = [shuffled(10, 3, seed=1, epoch=epoch) for epoch in (0, 1, 0)]
    assert epochs[0].tolist() == epochs[2].tolist() != epochs[1].tolist()
    assert len(np.unique(epochs[0])) == 9
    assert shuffled(10, 3, seed=2, epoch=0).tolist() != epochs[0].tolist()


def test_few_samples_make_one_batch():
    assert sorted(shuffled(4, 256, seed=0, epoch=0)[0]) == [0, 1, 2, 3]


@pytest.mark.parametrize("n_captions", [0, 4])
def test_refuses_another_number_of_captions(n_captions):
    with pytest.raises(ValueError, match=f"5 images and {n_captions} captions"):
        Pairs(IMAGES, CAPTIONS[:n_captions], TOKENIZER)


@pytest.mark.parametrize("images", [IMAGES / 255, IMAGES[..., 0]])
def test_refuses_other_images(images):
    with pytest.raises(ValueError, match="uint8 of shape"):
        Pairs(images, CAPTIONS, TOKENIZER).take(np.array([0, 1]))
