"""Unpacks the archives that slices are answered as."""

import tarfile
from pathlib import Path


def unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Extract everything below `folder`, by Python's own rules for data where this Python (3.11.4) has them."""
    archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
    archive.extractall(folder)
