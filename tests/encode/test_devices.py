import re

import pytest
import torch

from skclip.encode.devices import resolve_device, resolve_dtype


def test_auto_depends_on_the_machine():
    device = resolve_device("auto")
    assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_dtype("auto", torch.device("cpu")) is torch.float32
    assert resolve_dtype("auto", torch.device("cuda")) is torch.bfloat16
    assert resolve_dtype("bfloat16", torch.device("cpu")) is torch.bfloat16


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", "meta", "vulkan", ["cpu"]])
def test_a_device_that_cannot_compute_is_refused_with_the_choices(device):
    choices = "'auto' .*'cpu', 'cuda' or 'cuda:0' .*'mps'"
    with pytest.raises(
        ValueError, match=f"device must be {choices}.*got {re.escape(repr(device))}"
    ):
        resolve_device(device)


def test_an_unknown_dtype_is_refused():
    with pytest.raises(
        ValueError, match="dtype must be 'auto', 'float32' or 'bfloat16', got 'int8'"
    ):
        resolve_dtype("int8", torch.device("cpu"))
