"""Finding recordings below a folder."""

import os
from pathlib import Path

import pytest

from workers.bags import limits
from workers.bags.problems import Hostile
from workers.bags.recordings import discover, recording_at, role


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder: Path) -> list[tuple[str, tuple[str, ...]]]:
    return [(recording.path, recording.files) for recording in discover(folder)]


def test_a_folder_with_metadata_or_a_db3_is_one_recording_of_its_members(tmp_path: Path) -> None:
    touch(tmp_path, "bag/metadata.yaml", "bag/bag_0.mcap", "bag/notes.txt", "deep/er/x.db3", "deep/er/x.db3-wal")
    assert found(tmp_path) == [("bag", ("bag_0.mcap", "metadata.yaml")), ("deep/er", ("x.db3", "x.db3-wal"))]


def test_the_folder_itself_may_be_a_recording(tmp_path: Path) -> None:
    touch(tmp_path, "metadata.yaml", "x.mcap", "result.json")
    assert found(tmp_path) == [(".", ("metadata.yaml", "x.mcap"))]


def test_mcap_files_without_metadata_stand_alone(tmp_path: Path) -> None:
    touch(tmp_path, "b.mcap", "a.mcap.zstd", "episodes/episode_0.mcap", "episodes/episode_1.mcap")
    assert [path for path, _ in found(tmp_path)] == [
        "a.mcap.zstd",
        "b.mcap",
        "episodes/episode_0.mcap",
        "episodes/episode_1.mcap",
    ]
    assert all(recording.lone for recording in discover(tmp_path))


def test_bags_of_ros_1_stand_alone_as_mcap_files_do(tmp_path: Path) -> None:
    touch(tmp_path, "a.bag", "bag/x.db3", "bag/y.bag.active", "runs/1.bag.zstd", "runs/2.mcap")
    assert found(tmp_path) == [
        ("a.bag", ("a.bag",)),
        ("bag", ("x.db3", "y.bag.active")),
        ("runs/1.bag.zstd", ("1.bag.zstd",)),
        ("runs/2.mcap", ("2.mcap",)),
    ]


def test_a_folder_of_bags_of_ros_1_can_be_asked_for_as_one(tmp_path: Path) -> None:
    touch(tmp_path, "x_10.bag", "x_9.bag", "notes.txt")
    assert recording_at(tmp_path).files == ("x_9.bag", "x_10.bag")


def test_splits_named_after_their_folder_are_one_recording_even_without_metadata(tmp_path: Path) -> None:
    touch(tmp_path, "bag/bag_10.mcap", "bag/bag_9.mcap", "bag/bag_0.mcap")
    assert found(tmp_path) == [("bag", ("bag_0.mcap", "bag_9.mcap", "bag_10.mcap"))]


def test_recordings_inside_a_recording_are_found_too(tmp_path: Path) -> None:
    touch(tmp_path, "bag/x.db3", "bag/inner/y.db3")
    assert [path for path, _ in found(tmp_path)] == ["bag", "bag/inner"]


def test_a_folder_may_be_named_like_a_file(tmp_path: Path) -> None:
    touch(tmp_path, "run.db3/run.db3_0.db3", "metadata.yaml/x.mcap", "test.bag/test.bag_0.db3", "x.bag.active/x.bag")
    assert found(tmp_path) == [
        ("metadata.yaml/x.mcap", ("x.mcap",)),
        ("run.db3", ("run.db3_0.db3",)),
        ("test.bag", ("test.bag_0.db3",)),
        ("x.bag.active/x.bag", ("x.bag",)),
    ]


def test_what_is_found_can_be_found_again_at_its_location(tmp_path: Path) -> None:
    touch(tmp_path, "bag/x.db3", "bag/y.mcap", "bag/z.bag", "lone.mcap", "sub/a.mcap", "sub/b.mcap", "sub/c.bag")
    for recording in discover(tmp_path):
        assert recording_at(recording.location).files == recording.files


def test_links_and_special_files_are_not_ours(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/real.db3")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "x.db3").symlink_to(tmp_path / "elsewhere" / "real.db3")
    (inside / "folder").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(inside / "y.mcap")
    assert found(inside) == []
    assert recording_at(inside / "x.db3").files == ()
    assert recording_at(inside / "folder").files == ()


@pytest.mark.parametrize(
    "name", ["x\n.db3", "x\\y.mcap", "x.db3-journal", "x.active", "metadata.yml", "x.db3.zip", "\udcff.mcap"]
)
def test_names_a_bundle_cannot_hold_are_no_members(tmp_path: Path, name: str) -> None:
    assert role(name) is None
    touch(tmp_path, name)
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("metadata.yaml", "metadata"),
        ("metadata.yaml.zstd", "metadata"),
        ("a?mode=rwc&x=.db3", "data"),
        ("ü.mcap.zstd", "data"),
        ("x.bag", "data"),
        ("x.bag.active.zstd", "data"),
        ("x.db3-shm", "sidecar"),
        ("x.db3-wal.zstd", "sidecar"),
    ],
)
def test_members_are_known_by_their_names(name: str, expected: str) -> None:
    assert role(name) == expected


def test_folders_with_strange_names_are_told_printably(tmp_path: Path) -> None:
    touch(tmp_path, "b\udcffg/x.db3")
    assert [path for path, _ in found(tmp_path)] == ["b\\xffg"]


def test_depth_and_counts_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "/".join("abcdefgh") + "/x.mcap", "/".join("abcdefghijklmnopqrst") + "/y.mcap", "1.mcap", "2.mcap")
    assert [path for path, _ in found(tmp_path)] == ["1.mcap", "2.mcap", "a/b/c/d/e/f/g/h/x.mcap"]
    monkeypatch.setattr(limits, "RECORDINGS", 2)
    with pytest.raises(Hostile):
        discover(tmp_path)
    monkeypatch.setattr(limits, "RECORDINGS", 10)
    monkeypatch.setattr(limits, "FOLDER_ENTRIES", 5)
    with pytest.raises(Hostile):
        discover(tmp_path)


def test_what_is_passed_over_is_told_and_the_rest_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.mcap", "b/1.mcap", "b/2.mcap", "b/3.mcap", "c/1.mcap", "d/1.mcap")
    monkeypatch.setattr(limits, "MEMBERS", 2)
    monkeypatch.setattr(limits, "RECORDINGS", 2)
    passed_over: list[Exception] = []
    assert len(discover(tmp_path, passed_over.append)) == 2
    assert [type(error) for error in passed_over] == [Hostile, Hostile]
