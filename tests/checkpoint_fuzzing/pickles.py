"""Damage to the pickles in torch's files."""

import os
import pickle
import pickletools
import struct
from dataclasses import dataclass

from checkpoint_fuzzing.parts import read_part, write_part


@dataclass(frozen=True)
class Rebuild:
    """A pickle gives one tensor another size, stride or offset; None leaves them."""

    file: str
    place: int
    size: tuple | None = None
    stride: tuple | None = None
    offset: int | None = None

    def apply(self, directory):
        content = read_part(directory, self.file)
        spans = _rebuild_spans(content)
        offset, size, stride = spans[self.place % len(spans)]
        # from the last one to the first one, so that the places of the others stay
        for (start, stop), numbers in ((stride, self.stride), (size, self.size)):
            if numbers is not None:
                content = content[:start] + _tuple_opcodes(numbers) + content[stop:]
        if self.offset is not None:
            content = content[: offset[0]] + _number_opcode(self.offset) + content[offset[1] :]
        write_part(directory, self.file, content)


@dataclass(frozen=True)
class Opcode:
    """One opcode of a pickle is removed or doubled, gets another argument, or others precede it."""

    file: str
    place: int
    action: object

    def apply(self, directory):
        content = read_part(directory, self.file)
        spans = _opcodes(content)
        opcode, start, stop = spans[self.place % len(spans)]
        new = content[start:stop]
        if self.action == "remove":
            new = b""
        elif self.action == "double":
            new *= 2
        elif isinstance(self.action, int):
            numbers = [span for span in spans if "INT" in span[0] or "LONG" in span[0]]
            opcode, start, stop = numbers[self.place % len(numbers)]
            new = _number_opcode(self.action)
        else:
            new = OPCODES[self.action] + new
        write_part(directory, self.file, content[:start] + new + content[stop:])


def _storage(numel, device=b"X\x03\0\0\0cpu"):
    """Refer to a storage as torch does, and drop it."""
    kind = b"X\x07\0\0\0storagectorch\nFloatStorage\n"
    return b"(" + kind + b"X\x01\0\0\x000" + device + numel + b"tQ0"


# pickletools.py says what each opcode is; each of these leaves the stack as it was, or fails
OPCODES = {
    "stop": b".",
    "memo of 2**31 entries": b"Nr\xff\xff\xff\x7f0",
    "memo of 2**26 entries": b"Nr\xff\xff\xff\x030",
    "text of 2**62": b"\x8d" + struct.pack("<Q", 1 << 62),
    "text of 2**30": b"X" + struct.pack("<I", 1 << 30),
    "bytes of 2**62": b"\x8e" + struct.pack("<Q", 1 << 62),
    "bytes of 2**34": b"\x8e" + struct.pack("<Q", 1 << 34),
    "array of 2**34": b"\x96" + struct.pack("<Q", 1 << 34),
    "number of 2**30 bytes": b"\x8b" + struct.pack("<i", 1 << 30),
    "number of 10,000 digits": b"L" + b"9" * 10_000 + b"L\n0",
    "frame of 2**62": b"\x95" + struct.pack("<Q", 1 << 62),
    "frame of 2**32": b"\x95" + struct.pack("<Q", 1 << 32),
    "lists nested 100,000 deep": b"]" * 100_000 + b"a" * 99_999 + b"0",
    "tuples nested 100,000 deep": b")" + b"\x85" * 100_000 + b"0",
    "100,000 marks": b"(" * 100_000,
    "lists doubled 60 times": b"]" + b"".join(b"q\xf0](h\xf0h\xf0e" for _ in range(60)) + b"0",
    "a function": b"\x8c\x08builtins\x8c\x04eval\x930",
    "persistent id that is no tuple": b"NQ0",
    "persistent id of a set": b"\x8fQ0",
    "storage of -1": _storage(b"J\xff\xff\xff\xff"),
    "storage of 2**62": _storage(b"\x8a\x08\0\0\0\0\0\0\0\x40"),
    "storage of text": _storage(b"X\x01\0\0\x00x"),
    "storage on CUDA": _storage(b"K\x01", device=b"X\x04\0\0\0cuda"),
    "module with a list as state": b"c__torch__\nM\n)\x81]b0",
    "module with a number as state": b"c__torch__\nM\n)\x81K\x07b0",
    "module that holds itself": b"c__torch__\nM\n)\x81q\xf1}X\x01\0\0\x00xh\xf1sb0",
    "tensor of a number": b"ctorch._utils\n_rebuild_tensor_v2\n(K\x07tR0",
    "tensor of nothing": b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNtR0",
    "bytearray of 2**40": b"c__builtin__\nbytearray\n\x8a\x06\0\0\0\0\0\x01\x85R0",
    "bytearray of 2**29": b"c__builtin__\nbytearray\n\x8a\x05\0\0\0\x20\0\x85R0",
    "set of 2**40": b"c__builtin__\nset\nc__builtin__\nrange\n\x8a\x06\0\0\0\0\0\x01\x85R\x85R0",
    "counter": b"ccollections\nCounter\nX\x01\0\0\x00x\x85R0",
    "empty tensor": b"ctorch\nempty\n\x8a\x06\0\0\0\0\0\x01\x85R0",
    "size": b"ctorch\nSize\n](K\x01K\x02e\x85R0",
    "device": b"ctorch\ndevice\nX\x01\0\0\x00x\x85R0",
}  # fmt: skip


@dataclass(frozen=True)
class Payload:
    """A pickle, or an object in it, that writes a file when it is trusted."""

    file: str
    kind: str

    def apply(self, directory):
        write_part(directory, self.file, PAYLOADS[self.kind])


class _Runs:
    def __reduce__(self):
        return os.system, ("true",)


PAYLOADS = {
    "object": pickle.dumps(_Runs()),
    "object in a dict": pickle.dumps({"x": _Runs()}, protocol=2),
    "eval": b"cbuiltins\neval\n(V__import__('os').system('true')\ntR.",
    "attribute of a known module": b"ctorch\nserialization.os.system\n(Vtrue\ntR.",
    "load": b"ctorch\nload\n(Vx\ntR.",
    "hub": b"ctorch.hub\nload\n(Vx\nVx\ntR.",
    "call of a storage": b"ctorch\nFloatStorage\n(I9\ntR.",
    "call through a container": (
        b"ctorch.jit._pickle\nbuild_intlist\n(ctorch.serialization\nload\ntR."
    ),
    "old instance": b"(Vtrue\nios\nsystem\n.",
    "extension": b"\x82\x01.",
}


def _opcodes(content):
    """Return name, start and stop of each opcode."""
    starts = [(opcode.name, start) for opcode, _, start in pickletools.genops(content)]
    stops = [start for _, start in starts[1:]] + [len(content)]
    return [(name, start, stop) for (name, start), stop in zip(starts, stops, strict=True)]


def _rebuild_spans(content):
    """Return where a pickle has the offset, the size and the stride of each tensor."""
    opcodes = _opcodes(content)
    spans = []
    for number, (name, _, _) in enumerate(opcodes):
        if name == "BINPERSID":
            rest = iter(opcodes[number + 1 :])
            offset = next(span for span in rest if "PUT" not in span[0])
            spans.append((offset[1:], _tuple_span(rest), _tuple_span(rest)))
    return spans


def _tuple_span(opcodes):
    start = None
    for name, begin, stop in opcodes:
        start = begin if start is None and "PUT" not in name else start
        if "TUPLE" in name:
            return start, stop
    raise ValueError("no tuple follows")


def _tuple_opcodes(numbers):
    return b"(" + b"".join(map(_number_opcode, numbers)) + b"t"


def _number_opcode(number):
    return pickle.dumps(number, protocol=2)[2:-1]
