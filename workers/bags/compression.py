"""Unpacking with a bound checked before and during: whole files (.zstd) and chunks. Used by the readers."""

import bz2
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import lz4.frame  # type: ignore[import-untyped]
import zstandard

from workers.bags import limits
from workers.bags.files import Workspace, open_regular
from workers.bags.problems import Code, Hostile, NotARecording

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
BLOCK = limits.MIB
ZEROS = bytes(BLOCK)
# Packings of chunks that the formats know, besides none.
MCAP_PACKINGS, BAG_PACKINGS = frozenset({"zstd", "lz4"}), frozenset({"bz2", "lz4"})


class Broken(Exception):
    """Packed bytes that do not unpack. The text says why."""


class Stream(Protocol):
    """What a reader of bytes needs: like a binary file, but `damage` says why the bytes ended early, if they did."""

    damage: str | None

    def read(self, count: int, /) -> bytes: ...

    def lacks(self, count: int) -> bool:
        """True when fewer bytes are left, as far as that is known before they are read."""

    def rest(self, workspace: Workspace) -> int:
        """How many bytes are left, which are given up."""


class PlainStream:
    """A file as it is."""

    damage: str | None = None

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self._file = file

    def lacks(self, count: int) -> bool:
        return os.fstat(self._file.fileno()).st_size - self._file.tell() < count

    def rest(self, _workspace: Workspace) -> int:
        return -self._file.tell() + self._file.seek(0, os.SEEK_END)


class UnpackedStream:
    """What a .zstd file holds; a fault ends it. Raises NotARecording when it is no zstd, Hostile past its budget."""

    def __init__(self, file: BinaryIO, packed: int, budget: int) -> None:
        if file.read(4) != ZSTD_MAGIC:
            raise NotARecording("not packed with zstd, whatever its name says")
        file.seek(0)
        self.damage: str | None = None
        self._budget = budget
        self._given = 0
        self._declared = _declared_size(file.read(32)) or 0
        if self._declared > self._budget:
            raise Hostile(f"{packed} bytes claim to unpack to {self._declared}")
        file.seek(0)
        unpacker = zstandard.ZstdDecompressor(max_window_size=limits.ZSTD_WINDOW)
        self._reader = unpacker.stream_reader(file, read_size=BLOCK // 8, read_across_frames=True)

    def read(self, count: int, /) -> bytes:
        data = bytearray()
        while len(data) < count and not self.damage and (piece := self._piece(count - len(data))):
            data += piece
        # The library ends a cut frame without a word.
        if len(data) < count and self._given < self._declared:
            self.damage = self.damage or f"ends after {self._given} of {self._declared} unpacked bytes"
        return bytes(data)

    def _piece(self, count: int) -> bytes:
        """What one step of unpacking gives: a fault costs what comes after it."""
        try:
            piece = self._reader.read1(count)
        except zstandard.ZstdError as error:
            self.damage = str(error)
            return b""
        self._given += len(piece)
        if self._given > self._budget:
            raise Hostile(f"unpacks to more than {self._budget} bytes")
        return piece

    def lacks(self, count: int) -> bool:
        return False

    def rest(self, workspace: Workspace) -> int:
        left = 0
        while block := self.read(BLOCK):
            workspace.check_time()
            left += len(block)
        return left


def _declared_size(head: bytes) -> int | None:
    """What a zstd frame declares; None when it does not, or is cut too short to."""
    try:
        size = zstandard.frame_content_size(head)
    except zstandard.ZstdError:
        return None
    return None if size < 0 else size


@contextmanager
def opened(path: Path, budget: int = limits.UNPACKED_BYTES) -> Iterator[Stream]:
    """The content of a file, unpacked to at most `budget` bytes if its name ends in .zstd."""
    with open_regular(path) as file:
        yield UnpackedStream(file, path.stat().st_size, budget) if path.suffix == ".zstd" else PlainStream(file)


def read_magic(stream: Stream, magic: bytes, kind: str) -> None:
    """Reads past the first bytes that mark a `kind` of file. Raises NotARecording when they are others."""
    check_magic(stream.read(len(magic)), stream.damage, magic, kind)


def check_magic(head: bytes, damage: str | None, magic: bytes, kind: str) -> None:
    """The same for a `head` that was read, from a stream with `damage`."""
    if not head and damage:
        raise NotARecording(f"it does not unpack: {damage}", Code.COMPRESSION_BROKEN)
    if not head:
        raise NotARecording("zero bytes", Code.FILE_EMPTY)
    if head != magic:
        raise NotARecording(f"no {kind}: it begins with {head!r}")


def unpack(source: Path, target: Path, workspace: Workspace) -> str | None:
    """Writes the content of `source` to a new file, unpacked if its name says so. Gives what broke, if anything.

    Holes stay holes. Raises Hostile when the file would be too large.
    """
    size = source.stat().st_size
    if size > limits.UNPACKED_BYTES:
        raise Hostile(f"reading it takes a copy of {size} bytes")
    budget = max(limits.UNPACKED_FLOOR, size * limits.UNPACKED_RATIO)
    with opened(source, min(budget, limits.UNPACKED_BYTES)) as stream, target.open("xb") as writing:
        while block := stream.read(BLOCK):
            workspace.check_time()
            if block == ZEROS:
                writing.seek(len(block), os.SEEK_CUR)
            else:
                writing.write(block)
        writing.truncate()
    return stream.damage


def unpack_chunk(compression: str, data: bytes, claimed: int, known: frozenset[str] = MCAP_PACKINGS) -> bytes:
    """The `claimed` bytes of a chunk. Raises Broken when it does not hold them, Hostile when it is a bomb."""
    if compression and compression not in known:
        raise Broken(f"unknown compression {compression[:32]!r}")
    unpacked = data if compression == "" or not data else _unpack_bounded(compression, data, claimed)
    if len(unpacked) != claimed:
        raise Broken(f"claims {claimed} bytes and holds {len(unpacked)}")
    return unpacked


def unpack_cut(compression: str, data: bytes) -> bytes:
    """What can be had of a packed chunk of a ROS 1 bag whose end, and whose size, were never written."""
    if compression not in BAG_PACKINGS:
        return b""
    try:
        return UNPACK[compression](data, limits.RECORD_BYTES)
    except Broken:
        return b""


def _unpack_bounded(compression: str, data: bytes, claimed: int) -> bytes:
    declared = DECLARED[compression](data)
    # One wrong number may be a flipped bit; two that agree are no accident.
    if declared not in (None, claimed):
        raise Broken(f"claims {claimed} bytes and declares {declared}")
    if claimed > limits.RECORD_BYTES:
        raise Hostile(f"a chunk of {len(data)} bytes unpacks to {claimed}")
    # One byte more than claimed shows a lie without making room for it.
    unpacked = UNPACK[compression](data, claimed + 1)
    if len(unpacked) > claimed:
        raise Hostile(f"a chunk claims {claimed} bytes and unpacks to more")
    return unpacked


def _declared_lz4(data: bytes) -> int | None:
    try:
        return int(lz4.frame.get_frame_info(data)["content_size"]) or None
    except RuntimeError as error:
        raise Broken(str(error)) from error


def _unpack_zstd(data: bytes, most: int) -> bytes:
    unpacker = zstandard.ZstdDecompressor(max_window_size=limits.ZSTD_WINDOW)
    try:
        return unpacker.stream_reader(data, read_across_frames=True).read(most)
    except zstandard.ZstdError as error:
        raise Broken(str(error)) from error


def _unpack_lz4(data: bytes, most: int) -> bytes:
    try:
        return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=most))
    except RuntimeError as error:
        raise Broken(str(error)) from error


def _unpack_bz2(data: bytes, most: int) -> bytes:
    try:
        return bz2.BZ2Decompressor().decompress(data, max_length=most)
    except OSError as error:
        raise Broken(str(error)) from error


DECLARED: dict[str, Callable[[bytes], int | None]] = {
    "zstd": _declared_size,
    "lz4": _declared_lz4,
    "bz2": lambda _: None,
}
UNPACK: dict[str, Callable[[bytes, int], bytes]] = {"zstd": _unpack_zstd, "lz4": _unpack_lz4, "bz2": _unpack_bz2}
