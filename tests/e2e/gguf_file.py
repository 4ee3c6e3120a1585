"""A GGUF file as plain Python data, so that a test can take a good one, spoil one thing, and write it.
Independent of the program's own reader and writer on purpose: it is the second opinion."""

import dataclasses
import struct
from typing import Any, Dict, List, Tuple

UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = range(13)
SCALARS = {UINT8: "B", INT8: "b", UINT16: "H", INT16: "h", UINT32: "I", INT32: "i", FLOAT32: "f", BOOL: "?",
           UINT64: "Q", INT64: "q", FLOAT64: "d"}
F32, F16, Q8_0 = 0, 1, 8


@dataclasses.dataclass
class Tensor:
    dims: List[int]  # innermost first, as in the file
    dtype: int
    data: bytes


@dataclasses.dataclass
class GgufFile:
    """metadata: key -> (type, value), an array's type being (ARRAY, element type)."""
    metadata: Dict[str, Tuple[Any, Any]]
    tensors: Dict[str, Tensor]
    version: int = 3
    magic: bytes = b"GGUF"
    alignment: int = 32

    def header(self) -> bytes:
        parts = [self.magic, struct.pack("<IQQ", self.version, len(self.tensors), len(self.metadata))]
        for key, (kind, value) in self.metadata.items():
            parts.append(_string(key))
            if isinstance(kind, tuple):
                parts.append(struct.pack("<IIQ", ARRAY, kind[1], len(value)))
                parts.extend(_value(kind[1], item) for item in value)
            else:
                parts += [struct.pack("<I", kind), _value(kind, value)]
        offset = 0
        for name, tensor in self.tensors.items():
            parts += [_string(name), struct.pack("<I", len(tensor.dims))]
            parts += [struct.pack("<Q", dim) for dim in tensor.dims]
            parts.append(struct.pack("<IQ", tensor.dtype, offset))
            offset += self._padded(len(tensor.data))
        header = b"".join(parts)
        return header + b"\0" * (self._padded(len(header)) - len(header))

    def bytes(self) -> bytes:
        parts = [self.header()]
        for tensor in self.tensors.values():
            parts += [tensor.data, b"\0" * (self._padded(len(tensor.data)) - len(tensor.data))]
        return b"".join(parts)

    def _padded(self, size: int) -> int:
        return -(-size // self.alignment) * self.alignment


def _string(text: str) -> bytes:
    raw = text.encode("utf-8", errors="surrogateescape")
    return struct.pack("<Q", len(raw)) + raw


def _value(kind: int, value: Any) -> bytes:
    return _string(value) if kind == STRING else struct.pack("<" + SCALARS[kind], value)


class _Reader:
    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def string(self) -> str:
        size = self.take("Q")
        self.at += size
        return self.data[self.at - size:self.at].decode("utf-8", errors="surrogateescape")

    def value(self, kind: int) -> Any:
        return self.string() if kind == STRING else self.take(SCALARS[kind])


# Bytes of a block and its elements, for the types that these tests meet.
BLOCKS = {F32: (4, 1), F16: (2, 1), Q8_0: (34, 32), 12: (144, 256), 14: (210, 256), 30: (2, 1)}


def _read_metadata(reader: _Reader) -> Tuple[int, int, Dict[str, Tuple[Any, Any]]]:
    reader.at = 4
    version, tensor_count, key_count = reader.take("I"), reader.take("Q"), reader.take("Q")
    metadata: Dict[str, Tuple[Any, Any]] = {}
    for _ in range(key_count):
        key, kind = reader.string(), reader.take("I")
        if kind == ARRAY:
            element, count = reader.take("I"), reader.take("Q")
            metadata[key] = ((ARRAY, element), [reader.value(element) for _ in range(count)])
        else:
            metadata[key] = (kind, reader.value(kind))
    return version, tensor_count, metadata


def parse_header(data: bytes) -> Dict[str, Any]:
    """The metadata alone, without its types."""
    return {key: value for key, (_, value) in _read_metadata(_Reader(data))[2].items()}


def parse(data: bytes) -> GgufFile:
    reader = _Reader(data)
    version, tensor_count, metadata = _read_metadata(reader)
    entries = []
    for _ in range(tensor_count):
        name = reader.string()
        dims = [reader.take("Q") for _ in range(reader.take("I"))]
        entries.append((name, dims, reader.take("I"), reader.take("Q")))
    alignment = metadata.get("general.alignment", (UINT32, 32))[1]
    start = -(-reader.at // alignment) * alignment
    tensors = {}
    for name, dims, dtype, offset in entries:
        elements = 1
        for dim in dims:
            elements *= dim
        block_bytes, block_elements = BLOCKS[dtype]
        size = elements // block_elements * block_bytes
        tensors[name] = Tensor(dims, dtype, data[start + offset:start + offset + size])
    return GgufFile(metadata, tensors, version=version, alignment=alignment)
