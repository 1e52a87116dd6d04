"""Hostile places: links, pipes, folders and names that lead elsewhere."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

from tests.workers.bags.corpus import Case, Maker, hostile, safe, worthless
from tests.workers.bags.corpus.bags1 import SOUND
from tests.workers.bags.making import messages, write_db3, write_mcap, write_metadata

LONG = "n" * 251


def place(fill: Callable[[Path], object], name: str = "") -> Maker:
    """A folder filled so; or the file `name` in it."""

    def make(folder: Path) -> Path:
        fill(folder)
        return folder / name

    return make


def linked(folder: Path) -> None:
    secret = write_mcap(folder / "inside" / "secret", messages(10))
    (folder / "a.mcap").symlink_to(secret)
    (folder / "b.bag").symlink_to("/dev/zero")
    (folder / "c.db3").symlink_to("c.db3")
    (folder / "metadata.yaml").symlink_to("/etc/passwd")


def piped(folder: Path) -> None:
    for name in ("a.mcap", "b.bag", "c.db3", "c.db3-wal", "metadata.yaml"):
        os.mkfifo(folder / name)


def linked_beside(folder: Path) -> None:
    write_db3(folder / "x.db3", messages(10))
    for suffix in ("-wal", "-shm", "-journal"):
        (folder / f"x.db3{suffix}").symlink_to("/dev/zero")


def piped_beside(folder: Path) -> None:
    write_db3(folder / "x.db3", messages(10))
    for suffix in ("-wal", "-journal"):
        os.mkfifo(folder / f"x.db3{suffix}")


def listening(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        descriptor = os.open(folder, os.O_PATH)
        server.bind(f"/proc/self/fd/{descriptor}/x.mcap")
        os.close(descriptor)


def folders(folder: Path) -> None:
    write_db3(folder / "x.db3", messages(10))
    for name in ("a.mcap", "b.db3", "c.bag", "metadata.yaml", "x.db3-wal"):
        (folder / name).mkdir()


def named(*names: str) -> Maker:
    """Sound databases of ten messages by these names."""

    def fill(folder: Path) -> None:
        for name in names:
            write_db3(folder / "plain", messages(10)).rename(folder / name)

    return place(fill)


def listing_links(folder: Path) -> None:
    secret = write_mcap(folder / "inside" / "secret", messages(10))
    (folder / "a.mcap").symlink_to(secret)
    write_metadata(folder, ["a.mcap", "inside/secret"], messages(10))


def crowd(folder: Path) -> None:
    for number in range(10_100):
        (folder / f"{number}.mcap").touch()


CASES: dict[str, Case] = {
    "links": worthless(place(linked), ""),
    "a link by itself": worthless(place(linked, "a.mcap"), ""),
    "pipes": worthless(place(piped), ""),
    "a pipe by itself": worthless(place(piped, "b.bag")),
    "links in listed places": worthless(place(listing_links), "file_missing"),
    "links beside": safe(place(linked_beside), "", 10),
    "pipes beside": safe(place(piped_beside), "", 10),
    "a socket": worthless(place(listening), ""),
    "folders named like files": safe(place(folders), "", 10),
    "a folder without a name of its own": worthless(place(lambda folder: (folder / "x.bag").mkdir(), "x.bag"), ""),
    "another file by itself": worthless(place(lambda folder: (folder / "passwd").write_text("root"), "passwd"), ""),
    "eleven thousand files": hostile(place(crowd)),
    "names of 255 bytes": safe(named(f"{LONG}.db3"), "", 10),
    "names that open themselves for writing": safe(named("x.db3?mode=rwc&vfs=unix-none&z=.db3", "%2e%2e.db3"), "", 20),
    "names of other tongues": safe(named("\u202egpj.db3", "ü☃ \u200b.db3", "'; DROP TABLE messages; --.db3"), "", 30),
    "names that ring": safe(named("x.db3", "y\x07\x1b[2J.db3", "z\n.db3", "\udcff.db3", "a\\b.db3"), "", 10),
    "names of dots": safe(named("...db3", "..db3", ".db3"), "", 30),
    "a bag of ROS 1 among links": safe(
        place(lambda folder: (linked(folder), (folder / "y.bag").write_bytes(SOUND))), "", 20
    ),
}
