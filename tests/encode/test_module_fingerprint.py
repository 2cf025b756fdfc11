"""Digests of modules: equal for equal weights, computed again only if a weight has changed."""

import pytest
import torch
from torch import nn

from skclip.encode.module_fingerprint import ModuleFingerprint, digest_of, sample_pictures


def module(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.GELU())


@pytest.fixture
def net():
    return module()


@pytest.fixture
def reads(monkeypatch):
    """A list with one entry for each time that all weights were read."""
    reads = []
    original = ModuleFingerprint._read
    monkeypatch.setattr(ModuleFingerprint, "_read", lambda self: reads.append(1) or original(self))
    return reads


def test_weights_are_read_again_only_after_a_change(net, reads):
    fingerprint = ModuleFingerprint(net)
    digest = fingerprint.hexdigest()
    net(torch.zeros(2, 3)).sum().backward()
    net.eval()
    net(torch.zeros(2, 3))
    # the first call, in training mode, changed the buffers of the batch norm
    changed = fingerprint.hexdigest()
    assert changed != digest
    for _ in range(3):
        assert fingerprint.hexdigest() == changed
    assert len(reads) == 2


def change_by_optimizer(net):
    net[0].weight.grad = torch.ones_like(net[0].weight)
    torch.optim.SGD([net[0].weight], lr=0.1).step()


def change_by_state_dict(net):
    net.load_state_dict(module(seed=1).state_dict())


def change_parameter(net):
    net[0].bias = nn.Parameter(torch.ones(4))


def change_data(net):
    net[0].bias.data = torch.ones(4)


def change_dtype(net):
    net.half()


def change_activation(net):
    net[2] = nn.GELU(approximate="tanh")
    # a changed structure alone is not noticed, so a tensor is replaced as well
    net[0].weight.data = net[0].weight.data.clone()


@pytest.mark.parametrize(
    "change",
    [
        change_by_optimizer,
        change_by_state_dict,
        change_parameter,
        change_data,
        change_dtype,
        change_activation,
    ],
)
def test_a_change_is_noticed(net, change):
    fingerprint = ModuleFingerprint(net)
    before = fingerprint.hexdigest()
    assert before == ModuleFingerprint(module()).hexdigest()
    change(net)
    after = fingerprint.hexdigest()
    assert after != before
    assert after == ModuleFingerprint(net).hexdigest()


def test_weights_without_a_version_counter_are_read_every_time(reads):
    with torch.inference_mode():
        net = module()
        fingerprint = ModuleFingerprint(net)
        before = fingerprint.hexdigest()
        net[0].weight.add_(1)
        assert fingerprint.hexdigest() != before
    assert len(reads) == 2


def test_different_values_have_different_digests():
    pictures = sample_pictures()
    assert {picture.mode for picture in pictures} == {"RGB"}
    values = [
        torch.zeros(2, 3),
        torch.zeros(3, 2),
        torch.zeros(2, 3, dtype=torch.bfloat16),
        [torch.zeros(2, 3)],
        {"a": torch.zeros(2, 3)},
        {"b": torch.zeros(2, 3)},
        None,
        "None",
    ]
    assert len({digest_of(value) for value in values}) == len(values)
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
