"""Carries words and tensors between the process that measures and a candidate's process.

A message is one line of JSON; the numbers of tensors may follow as raw bytes, into tensors that the
reader has made: it knows how many are due, and reads no more. Nothing is unpickled.
"""

import ctypes
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from move37.lab.words import BYTES_LIMIT, FLOOD, LINES_LIMIT, read

_READ = 1 << 16
COUNTED = ("flops", "elements", "calls", "allocated")  # how the work of a tape is answered
_PARTS = 512  # a call takes 1024 at most on Linux


class Closed(ConnectionError):
    """The process at the other end is gone."""


class Flood(ConnectionError):
    """The process at the other end says too much."""


class Link:
    """One end of a stream socket, by its file descriptor; the sandbox allows no call for sockets.

    Tensors are contiguous, and in the processor's memory.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._held = b""  # read, and not yet asked for
        self._lines = self._bytes = 0

    def close(self) -> None:
        """Closes this end; the other one reads Closed."""
        os.close(self._descriptor)

    def send(self, data: dict[str, Any], tensors: Sequence[Tensor] = ()) -> None:
        """Sends a line, and the numbers of tensors; raises Closed."""
        line = json.dumps(data, allow_nan=False).encode() + b"\n"
        parts = [memoryview(line), *map(memory_of, tensors)]
        try:
            while parts:
                parts = _after(parts, os.writev(self._descriptor, parts[:_PARTS]))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    def receive(self) -> dict[str, Any]:
        """Returns the next line; raises Closed, Flood, or Garbled."""
        return read(self._line())

    def fill(self, tensors: Sequence[Tensor]) -> None:
        """Fills the tensors with the numbers that follow the last line; raises Closed."""
        parts = list(map(memory_of, tensors))
        for part in parts:  # what was read already
            count = min(len(self._held), len(part))
            part[:count], self._held = self._held[:count], self._held[count:]
            parts = _after(parts, count)
        while parts:
            try:
                count = os.readv(self._descriptor, parts[:_PARTS])
            except ConnectionResetError as error:
                raise Closed from error
            if not count:
                raise Closed
            parts = _after(parts, count)

    def new_conversation(self) -> None:
        """Counts the words anew: an answer that was asked for is no flood."""
        self._bytes = self._lines = 0

    def _line(self) -> bytes:
        parts: list[bytes] = []
        while b"\n" not in self._held:
            parts.append(self._held)
            self._count(len(self._held), 0)
            self._held = self._more()
        end, self._held = self._held.split(b"\n", 1)
        self._count(len(end) + 1, 1)
        return b"".join([*parts, end])

    def _count(self, size: int, lines: int) -> None:
        self._bytes, self._lines = self._bytes + size, self._lines + lines
        if self._bytes > BYTES_LIMIT or self._lines > LINES_LIMIT:
            raise Flood(FLOOD)

    def _more(self) -> bytes:
        try:
            data = os.read(self._descriptor, _READ)
        except ConnectionResetError as error:
            raise Closed from error
        if not data:
            raise Closed
        return data


def name_of(dtype: torch.dtype) -> str:
    """Returns what a type of numbers is called across the link."""
    return str(dtype).removeprefix("torch.")


def described(tensors: Sequence[Tensor]) -> list[list[str | int]]:
    """Returns types and shapes, as they go across the link before the numbers."""
    return [[name_of(one.dtype), *one.shape] for one in tensors]


def room_for(told: Sequence[Sequence[Any]]) -> list[Tensor]:
    """Returns tensors of the types and shapes that are `described`."""
    return [torch.empty(shape, dtype=getattr(torch, name)) for name, *shape in told]


def _after(parts: list[memoryview], count: int) -> list[memoryview]:
    """Returns what is left of the parts after their first `count` bytes; no empty ones."""
    left = list(parts)
    while left and count >= len(left[0]):
        count -= len(left.pop(0))
    if left:
        left[0] = left[0][count:]
    return left


def memory_of(tensor: Tensor) -> memoryview:
    """Returns the bytes of a contiguous tensor in the memory of this process, not copied."""
    size = tensor.numel() * tensor.element_size()
    if not size:
        return memoryview(bytearray())
    return memoryview((ctypes.c_char * size).from_address(tensor.data_ptr())).cast("B")


def hash_of(tensors: Iterable[Tensor]) -> int:
    """Returns a number that follows from the tensors, and that nobody knows before them."""
    digest = hashlib.sha256(b"".join(memory_of(one.contiguous()) for one in tensors)).digest()
    return int.from_bytes(digest[:4]) >> 1  # as large as seeds may be


def on_cpu(tensor: Tensor) -> Tensor:
    """Returns the tensor as the link sends it; itself where it is so already."""
    return tensor.detach().to("cpu").contiguous()
