"""The quick way through a leaf says what the careful one says, or nothing."""

import os
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from tests.workers.bags.making import SCHEMA
from workers.bags.btree import Layout, Pages, cells, leaves, plain_rows, row

INT64 = st.integers(-(2**63), 2**63 - 1)
ROWS = st.lists(st.tuples(INT64 | st.integers(0, 300), st.integers(-3, 2**40), INT64 | st.just(0),
                          st.integers(0, 900) | st.just(5000)), max_size=60, unique_by=lambda row: row[0])


def leaves_of(path: Path, page: int) -> tuple[Layout, list[tuple[int, bytes]], Pages]:
    with sqlite3.connect(path) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages'").fetchone()
    connection.close()
    layout = Layout(page, page, 100_000, 1, 2, 3)
    pages = Pages(os.open(path, os.O_RDONLY), layout)
    return layout, list(leaves(pages, root, lambda: None)), pages


@given(ROWS, st.sampled_from([512, 4096, 65536]))
def test_both_ways_through_a_leaf_agree(rows: list[tuple[int, int, int, int]], page: int) -> None:
    with TemporaryDirectory() as folder:
        check(Path(folder) / "a.db3", rows, page)


def check(path: Path, rows: list[tuple[int, int, int, int]], page: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        f"PRAGMA page_size = {page}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + SCHEMA)
    connection.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)",
                           [(number, topic, time, bytes(size)) for number, topic, time, size in rows])
    connection.close()
    layout, found, pages = leaves_of(path, page)
    try:
        seen = 0
        for number, content in found:
            careful = [row(cell, layout, pages.page) for cell in cells(content, number, layout) if cell is not None]
            quick = plain_rows(content, number, layout)
            assert quick is None or quick == [(each.topic, each.time) for each in careful if each is not None]
            seen += len(careful)
        assert seen == len(rows)
    finally:
        os.close(pages.descriptor)


def test_ordinary_leaves_are_read_quickly(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "a.db3")
    connection.executescript(SCHEMA)
    connection.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)",
                           [(n % 3, 2**60 + n, bytes(200)) for n in range(500)])
    connection.commit()
    connection.close()
    layout, found, pages = leaves_of(tmp_path / "a.db3", 4096)
    try:
        assert sum(len(plain_rows(content, number, layout) or ()) for number, content in found) == 500
    finally:
        os.close(pages.descriptor)


@given(st.binary(min_size=512, max_size=512))
def test_noise_never_breaks_it(noise: bytes) -> None:
    for content in (noise, b"\x0d\0\0" + noise[3:5] + noise[5:]):
        plain_rows(content, 2, Layout(512, 512, 100_000, 1, 2, 3))
