"""Tensors of other kinds, in a file that is whole."""

import re
import warnings
from dataclasses import dataclass

import torch
from safetensors.torch import load_file, save_file


@dataclass(frozen=True)
class Tensor:
    """One tensor becomes another one, in a file that is written anew by its own library."""

    file: str
    place: int
    kind: str

    def apply(self, directory):
        path = directory / self.file
        safe = path.suffix == ".safetensors"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sparse and quantized tensors
            content = load_file(path) if safe else torch.load(path, weights_only=True)
            state = content.get("state_dict", content)
            TENSORS[self.kind](state, sorted(state)[self.place % len(state)])
            if safe:
                save_file(state, path)
            else:
                torch.save(content, path)


def _set(change):
    def apply(state, key):
        state[key] = change(state[key])

    return apply


def _rename(name):
    def apply(state, key):
        state[name(key)] = state.pop(key)

    return apply


TENSORS = {
    "missing": lambda state, key: state.pop(key),
    "all missing": lambda state, key: state.clear(),
    "float64": _set(lambda value: value.double()),
    "bfloat16": _set(lambda value: value.bfloat16()),
    "float8": _set(lambda value: value.to(torch.float8_e4m3fn)),
    "int64": _set(lambda value: value.long()),
    "uint8": _set(lambda value: value.to(torch.uint8)),
    "bool": _set(lambda value: value.bool()),
    "NaN": _set(lambda value: torch.full(value.shape, torch.nan)),
    "infinite": _set(lambda value: torch.full(value.shape, torch.inf)),
    "huge": _set(lambda value: torch.full(value.shape, 3e38)),
    "transposed": _set(lambda value: value.flatten().reshape(value.shape[::-1])),
    "flat": _set(lambda value: value.flatten()),
    "one more axis": _set(lambda value: value[None].contiguous()),
    "64 axes": _set(lambda value: value.reshape(*[1] * (64 - value.ndim), *value.shape)),
    "empty": _set(lambda value: torch.zeros(0)),
    "empty, 2-D": _set(lambda value: torch.zeros(0, 1 << 40)),
    "scalar": _set(lambda value: torch.tensor(1.0)),
    "one number": _set(lambda value: torch.ones(1)),
    "twice as long": _set(lambda value: torch.cat([value.flatten()] * 2)),
    "a long name": _rename(lambda key: "x" * 100_000),
    "a name of newlines": _rename(lambda key: "\n" * 20 + key),
    "layer 1000000": _rename(lambda key: re.sub(r"\.\d+\.", ".1000000.", key)),
    "a layer of 5,000 digits": _rename(lambda key: re.sub(r"\.\d+\.", "." + "1" * 5000 + ".", key)),
    "no layer number": _rename(lambda key: re.sub(r"\.\d+\.", ".x.", key)),
}  # fmt: skip
# what safetensors cannot hold, or its first versions cannot
TORCH_TENSORS = {
    "complex": _set(lambda value: value.to(torch.complex64) * (1 + 1j)),
    "sparse": _set(lambda value: value.to_sparse()),
    "sparse, one entry of 2**50": _set(
        lambda value: torch.sparse_coo_tensor([[0], [0]], [1.0], (1 << 25, 1 << 25))
    ),
    "sparse rows": _set(lambda value: torch.eye(3).to_sparse_csr()),
    "meta": _set(lambda value: value.to("meta")),
    "meta of 2**60": _set(lambda value: torch.empty(1 << 60, device="meta")),
    "stride 0": _set(lambda value: torch.zeros(()).expand(value.shape)),
    "stride 0, 2**50": _set(lambda value: torch.zeros(1).expand(1 << 25, 1 << 25)),
    "stride 0, 2**31 rows": _set(lambda value: torch.zeros(1, 64).expand(1 << 31, 64)),
    "a view": _set(lambda value: torch.cat([value.flatten()] * 2)[: value.numel()].view_as(value)),
    "quantized": _set(lambda value: torch.quantize_per_tensor(value.float(), 0.1, 0, torch.qint8)),
    "parameter": _set(lambda value: torch.nn.Parameter(value.float())),
    "number": _set(lambda value: 3.5),
    "None": _set(lambda value: None),
    "text": _set(lambda value: "x" * 1_000_000),
    "list of lists": _set(lambda value: _doubled_lists(30)),
    "list that holds itself": _set(lambda value: _own_list()),
    "nested dict": _set(lambda value: {"state_dict": {"model": value}}),
    "number as name": _rename(lambda key: 7),
    "tuple as name": _rename(lambda key: _doubled_tuples(26)),
    "bytes as name": _rename(lambda key: b"x" * 1_000_000),
    "None as name": _rename(lambda key: None),
}
TENSORS |= TORCH_TENSORS


def _doubled_lists(depth):
    value = []
    for _ in range(depth):
        value = [value, value]  # 2**depth when it is printed
    return value


def _doubled_tuples(depth):
    value = ()
    for _ in range(depth):
        value = (value, value)
    return value


def _own_list():
    value = []
    value.append(value)
    return value
