import pytest
import torch

from skclip.training.schedule import warmup_cosine


def test_rises_linearly():
    assert [warmup_cosine(step, 20, 5) for step in range(5)] == [0.2, 0.4, 0.6, 0.8, 1.0]


@pytest.mark.parametrize("n_warmup", [0, 5])
def test_falls_as_torchs_cosine(n_warmup):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20 - n_warmup)
    for step in range(n_warmup, 20):
        assert warmup_cosine(step, 20, n_warmup) == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
