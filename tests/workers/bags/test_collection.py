"""Every real recording of the collection against the truth that was measured by other means."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from rosbags.rosbag2 import Reader

from tests.workers.bags.collection import BAGS, found_in, recordings, true_files, unit_of, units
from tests.workers.bags.making import codes, fingerprint
from tests.workers.bags.table import parts, table
from workers.bags.cage import examine
from workers.bags.facts import facts
from workers.bags.recordings import Recording, recording_at

REJECTED = {
    "fox-ros1/fixtures/empty-file.bag",
    "autoware-tools-text-db3/resource/dummy_bag",
    "autoware-tools-text-db3/resource/sample_bag",
    "p4-zero-mcap/bag3",
    "p4-zero-mcap/bag7",
    "rb2-file-compression/target_metadata/file_compression",
    "rb2-message-compression/target_metadata/message_compression",
    "rb2-reindex-v6/target_metadata/multiple_files",
    "resurrector-zero-db3/ros2_dir_bag",
    "tiryoh-fixtures-old/fixtures/Dockerfile.mcap",
}
# Its messages are of another format than CDR.
UNREADABLE_BY_OTHERS = {"rb2-wrong-rmw-mcap/wrong_rmw_test"}
DAMAGED = {"tiryoh-fixtures-old/fixtures/test_sample_truncated.mcap"}


def folders() -> list[Recording]:
    """Recordings whose metadata.yaml can be used."""
    return [recording for recording in recordings() if units().get(recording.path, {}).get("meta", {}).get("paths")]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "recording" in metafunc.fixturenames:
        found = recordings() if (BAGS / "truth.json").is_file() else ()
        metafunc.parametrize("recording", found, ids=lambda recording: recording.path)


def test_every_recording_of_the_collection_is_found() -> None:
    expected = {(path, file["name"]) for path, unit in units().items() for file in unit["files"]}
    found = {
        (unit_of(recording), name)
        for recording in recordings()
        for name in recording.files
        if name.removesuffix(".zstd").endswith((".db3", ".mcap", ".bag", ".bag.active"))
    }
    assert found == expected


def test_facts_are_the_raw_rows(recording: Recording) -> None:
    counts: dict[str, int] = {}
    times = []
    for file in true_files(recording):
        for topic in file.get("topics", []):
            counts[topic["name"]] = counts.get(topic["name"], 0) + topic["count"]
        if file.get("n"):
            times += [file["ts"]["min"], file["ts"]["max"]]
    found = found_in(recording)
    assert {topic.name: topic.count for topic in found.topics} == counts
    assert found.messages == sum(file.get("n") or 0 for file in true_files(recording))
    assert (found.start_ns, found.end_ns) == (min(times, default=None), max(times, default=None))
    types = {(topic["name"], topic["type"]) for file in true_files(recording) for topic in file.get("topics", [])}
    assert {(topic.name, topic.type) for topic in found.topics} == types


def test_states_are_as_known(recording: Recording) -> None:
    state = "REJECTED" if recording.path in REJECTED else "DAMAGED" if recording.path in DAMAGED else "READY"
    assert found_in(recording).state == state


def test_without_its_metadata_a_folder_gets_one_that_opens_everything(tmp_path: Path) -> None:
    for number, recording in enumerate(folders()):
        folder = tmp_path / str(number)
        folder.mkdir()
        files = true_files(recording)
        for file in files:
            shutil.copyfile(recording.folder / file["name"], folder / file["name"])
        found = facts(recording_at(folder))
        if found.state == "REJECTED" or recording.path in UNREADABLE_BY_OTHERS:
            continue
        assert found.rebuilt is not None, recording.path
        (folder / "metadata.yaml").write_text(found.rebuilt)
        with Reader(folder) as reader:
            told = {name: topic.msgcount for name, topic in reader.topics.items()}
            read = Counter(connection.topic for connection, _, _ in reader.messages())
        counts = Counter[str]()
        for topic in (topic for file in files for topic in file.get("topics", [])):
            counts[topic["name"]] += topic["count"]
        assert told == counts, recording.path
        assert read == +counts, recording.path


def test_the_originals_stay_as_they_were() -> None:
    for recording in recordings()[:20]:
        before = fingerprint(recording.folder)
        facts(recording)
        assert fingerprint(recording.folder) == before


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("robot-kf/my_bag", "file_renamed"),
        ("rb2-cdr-v1/cdr_test", "file_unlisted"),
        ("rb2-cdr-v1/cdr_test", "metadata_type_mismatch"),
        ("rb2-wbag-sqlite3/wbag", "metadata_time_mismatch"),
        ("rayyuan-synth-mcap/my_bag", "metadata_count_mismatch"),
        ("mrlab-nometa/rosbag2_2026_04_21-18_32_32", "metadata_missing"),
        ("resurrector-zero-db3/ros2_dir_bag", "file_empty"),
    ],
)
def test_known_quirks_are_told_by_the_caged_child(path: str, code: str) -> None:
    units()
    assert code in codes(examine(BAGS / path, 60))


def test_the_page_about_recordings_tells_what_is_found() -> None:
    """`python -m tests.workers.bags.table` writes its table anew."""
    assert parts()[1] == table()
