"""Parts of objects over HTTP: exactly what was asked for, or a failure that says what came instead."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.serving import Storage, served
from workers import ranges
from workers.ranges import Connections, HttpRanges, Source, SourceFailed, TimedOut

CONTENT = bytes(range(256)) * 100


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    monkeypatch.setattr(ranges, "PAUSES_SECONDS", (0.0, 0.0))
    (tmp_path / "x.mcap").write_bytes(CONTENT)
    with served(tmp_path) as storage:
        yield storage


@pytest.fixture
def connections() -> Iterator[Connections]:
    made = Connections()
    yield made
    made.close()


@pytest.fixture
def files(storage: Storage, connections: Connections) -> HttpRanges:
    return HttpRanges({"x.mcap": Source(storage.url("x.mcap"), len(CONTENT))}, connections)


def test_a_part_is_exactly_what_was_asked_for(files: HttpRanges, storage: Storage) -> None:
    assert files.read("x.mcap", 300, 1000) == CONTENT[300:1300]
    assert files.read("x.mcap", len(CONTENT) - 1, 1) == CONTENT[-1:]
    assert files.read("x.mcap", 5, 0) == b""
    assert storage.asked == [("x.mcap", 300, 1000), ("x.mcap", len(CONTENT) - 1, 1)]


def test_a_whole_file_comes_in_pieces(files: HttpRanges, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PIECE_BYTES", 10_000)
    with files.whole("x.mcap") as file:
        assert file.read() == CONTENT
    assert storage.sent == len(CONTENT)


@pytest.mark.parametrize("fault", ["cut", "drop", 500, 503])
def test_what_fails_once_or_twice_is_asked_for_again(files: HttpRanges, storage: Storage, fault: str | int) -> None:
    storage.faults += [fault, fault]
    assert files.read("x.mcap", 300, 1000) == CONTENT[300:1300]


@pytest.mark.parametrize("fault", ["cut", "drop", 503, 403, 302])
def test_what_goes_on_failing_fails(files: HttpRanges, storage: Storage, fault: str | int) -> None:
    storage.faults += [fault] * 3
    with pytest.raises(SourceFailed) as failed:
        files.read("x.mcap", 300, 1000)
    assert "secret" not in str(failed.value)
    storage.faults.clear()
    assert files.read("x.mcap", 0, 10) == CONTENT[:10]


@pytest.mark.parametrize(
    ("name", "offset", "length"), [("y.mcap", 0, 1), ("x.mcap", -1, 5), ("x.mcap", 0, 10**9), ("x.mcap", 9, -1)]
)
def test_nothing_but_the_given_files_is_asked_for(
    files: HttpRanges, storage: Storage, name: str, offset: int, length: int
) -> None:
    with pytest.raises(SourceFailed):
        files.read(name, offset, length)
    assert storage.asked == []


def test_an_object_that_is_shorter_than_it_must_be_fails(storage: Storage, connections: Connections) -> None:
    longer = HttpRanges({"x.mcap": Source(storage.url("x.mcap"), 2 * len(CONTENT))}, connections)
    with pytest.raises(SourceFailed):
        longer.read("x.mcap", len(CONTENT) - 10, 20)
    with longer.whole("x.mcap") as file, pytest.raises(SourceFailed):
        file.read()


def test_all_of_an_object_is_bounded(storage: Storage, connections: Connections) -> None:
    assert connections.get_all(storage.url("x.mcap"), len(CONTENT)) == CONTENT
    with pytest.raises(SourceFailed):
        connections.get_all(storage.url("x.mcap"), len(CONTENT) - 1)
    with pytest.raises(SourceFailed):
        connections.get_all(storage.url("y.mcap"), 10)


def test_a_storage_that_is_silent_times_out(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(ranges, "PAUSES_SECONDS", ())
    monkeypatch.setattr(ranges, "TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimedOut):
        connections.get_all(f"http://127.0.0.1:{silent.getsockname()[1]}/x", 10)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "x"])
def test_other_kinds_of_urls_are_not_read(connections: Connections, url: str) -> None:
    with pytest.raises(SourceFailed):
        connections.get_all(url, 10)


def test_connections_are_kept_open(files: HttpRanges, connections: Connections) -> None:
    files.read("x.mcap", 0, 10)
    first = dict(connections._open)
    files.read("x.mcap", 10, 10)
    assert dict(connections._open) == first
