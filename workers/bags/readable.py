"""Makes the files of an index that can be read only as a whole readable in parts, below a scratch folder. Used by the
programs that read messages, before extract.messages.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from workers.bags import limits
from workers.bags.blocks import CannotExtract
from workers.bags.fetching import Ranges
from workers.bags.files import Workspace, open_regular, size_of
from workers.bags.index import Index, IndexedFile, grain_of
from workers.bags.opening import overlaps


@contextmanager
def readable(
    index: Index, ranges: Ranges, workspace: Workspace, *, start_ns: int, end_ns: int, latched: bool = False
) -> Iterator[tuple[Index, Ranges]]:
    """An index and ranges that extract.messages can read between these times, also what was latched at the start.

    They are the same ones when no file has to be fetched whole. The topics of the index keep their places; what was
    fetched is gone afterwards. Raises CannotExtract, Hostile, and what `ranges` raises.
    """
    since_ns = limits.INT64_MIN if latched else start_ns
    whole = [at for at, file in enumerate(index.files) if file.whole and overlaps(file, since_ns, end_ns)]
    with ExitStack() as stack:
        yield _restored(index, ranges, whole, workspace, stack) if whole else (index, ranges)


def _restored(
    index: Index, ranges: Ranges, whole: list[int], workspace: Workspace, stack: ExitStack
) -> tuple[Index, Ranges]:
    # What few recordings need is loaded only for them.
    from workers.bags.indexing import index_file  # noqa: PLC0415
    from workers.bags.merging import Merger  # noqa: PLC0415
    from workers.bags.problems import NotARecording  # noqa: PLC0415
    from workers.bags.restoring import restored  # noqa: PLC0415

    merger = Merger({topic.name: topic.qos for topic in index.topics}, index)
    files, local = list(index.files), {}
    for at in whole:
        file = files[at]
        path = _fetch(file, ranges, Path(stack.enter_context(TemporaryDirectory(dir=workspace.folder))))
        try:
            copy = stack.enter_context(restored(path, workspace, salvage=file.salvage))
            gathered = index_file(copy, grain_of(size_of(copy)), workspace)
        except NotARecording as error:
            raise CannotExtract(f"{file.name}: {error}") from error
        path.unlink(missing_ok=True)
        files[at] = replace(merger.add(gathered, counted=False), name=file.name)
        local[file.name] = stack.enter_context(open_regular(copy))
    return Index(merger.topics, merger.definitions, files), _Mixed(ranges, local)


def _fetch(file: IndexedFile, ranges: Ranges, folder: Path) -> Path:
    """The file, and what is beside it, in a folder."""
    for name in (file.name, *file.beside):
        with ranges.whole(name) as source, (folder / name).open("xb") as target:
            shutil.copyfileobj(source, target, limits.MIB)
    if size_of(folder / file.name) != file.size:
        raise CannotExtract(f"{file.name} has {size_of(folder / file.name)} bytes instead of {file.size}")
    return folder / file.name


class _Mixed:
    """Ranges of restored files from here, of others from where they lie."""

    def __init__(self, ranges: Ranges, local: dict[str, BinaryIO]) -> None:
        self._ranges, self._local = ranges, local

    def read(self, name: str, offset: int, length: int) -> bytes:
        if name not in self._local:
            return self._ranges.read(name, offset, length)
        self._local[name].seek(offset)
        return self._local[name].read(length)

    def whole(self, name: str) -> BinaryIO:
        return self._ranges.whole(name)
