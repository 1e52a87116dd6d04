"""Hostile metadata.yaml: bombs, and claims no recorder would make."""

from pathlib import Path

import zstandard

from tests.workers.bags.corpus import Case, Maker, hostile, safe
from tests.workers.bags.making import messages, write_db3

ALIASES = "a: &a [x, x, x, x]\n" + "".join(
    f"{name}: &{name} [*{previous}, *{previous}, *{previous}]\n"
    for previous, name in zip("abcdefgh", "bcdefghi", strict=True)
)
UNREADABLE = "metadata_unreadable"


def metadata(content: str | bytes, name: str = "metadata.yaml") -> Maker:
    """A sound database, and this."""

    def make(folder: Path) -> Path:
        write_db3(folder / "x.db3", messages(10))
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder

    return make


def information(**fields: str) -> Maker:
    return metadata("rosbag2_bagfile_information:\n" + "".join(f"  {name}: {text}\n" for name, text in fields.items()))


CASES: dict[str, Case] = {
    "aliases of aliases": hostile(metadata(ALIASES)),
    "a list that holds itself": hostile(metadata("a: &a [*a, *a]")),
    "aliases of a map": hostile(metadata("a: &a {k: v}\nb: &b {<<: *a, k: *a}\nc: {<<: *b}")),
    "brackets nested deep": hostile(metadata("[" * 200_000)),
    "maps nested deep": hostile(metadata("{a: " * 100_000)),
    "dashes nested deep": hostile(metadata("- " * 100_000)),
    "one alias": safe(metadata("a: &a x\nb: *a"), UNREADABLE, 10),
    "an alias of nothing": safe(metadata("a: *nothing"), UNREADABLE, 10),
    "a tag that runs a program": safe(
        metadata("!!python/object/apply:os.system ['touch /tmp/simyard-harm']"), UNREADABLE, 10
    ),
    "a tag that reads a module": safe(metadata("a: !!python/module:os.system ''"), UNREADABLE, 10),
    "a tag of our own": safe(metadata("%TAG ! tag:harm,2026:\n--- !x {a: b}"), UNREADABLE, 10),
    "binary that unpacks": safe(metadata("a: !!binary " + "QUFB" * 10_000), UNREADABLE, 10),
    "ten megabytes of text": safe(metadata("a" * 10_000_000), UNREADABLE, 10),
    "a hundred thousand keys": safe(metadata("".join(f"k{number}: 1\n" for number in range(100_000))), UNREADABLE, 10),
    "the same key a hundred thousand times": safe(metadata("k: 1\n" * 150_000), UNREADABLE, 10),
    "a hundred thousand documents": safe(metadata("---\n" * 100_000), UNREADABLE, 10),
    "a key that is a list": safe(metadata("? [a, b]\n: c"), UNREADABLE, 10),
    "a quarter of a million brackets": safe(metadata("[" + "[]," * 250_000 + "]"), UNREADABLE, 10),
    "garbage": safe(metadata(bytes(range(256)) * 100), UNREADABLE, 10),
    "sixteen bits": safe(metadata("rosbag2_bagfile_information: {}".encode("utf-16")), "", 10),
    "a sexagesimal number of a megabyte": safe(information(message_count="1:" * 200_000 + "1"), "", 10),
    "a number of a megabyte": safe(information(message_count="9" * 900_000), "", 10),
    "a count below zero": safe(information(message_count="-9223372036854775808"), "metadata_count_mismatch", 10),
    "times that overflow": safe(
        information(
            message_count="10",
            starting_time="{nanoseconds_since_epoch: 9223372036854775807}",
            duration="{nanoseconds: 9223372036854775807}",
        ),
        "metadata_time_mismatch",
        10,
    ),
    "paths that lead elsewhere": safe(
        information(relative_file_paths='[/etc/passwd, ../../x.db3, "..", "", ".", "a\\0b", x.db3]'),
        "metadata_path_outside",
        10,
    ),
    "fifty thousand paths": safe(information(relative_file_paths=f"[{'p,' * 50_000}x.db3]"), "file_missing", 10),
    "fifty thousand other paths": safe(
        information(relative_file_paths=f"[{','.join(f'p{number}' for number in range(50_000))}, x.db3]"), "more", 10
    ),
    "lists where maps are due": safe(
        information(topics_with_message_count="[[], {}, 5, {topic_metadata: []}]", files="{a: b}", duration="[1]"),
        "",
        10,
    ),
    "packed zeros": safe(metadata(zstandard.ZstdCompressor().compress(bytes(1 << 28)), "metadata.yaml.zstd"), "", 10),
    "packed garbage": safe(metadata(b"garbage", "metadata.yaml.zstd"), UNREADABLE, 10),
}
