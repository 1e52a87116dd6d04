"""What reading a recording may cost, in one place. Read by every module of workers.bags."""

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1

# Finding recordings below a folder.
FOLDER_DEPTH = 16
FOLDER_ENTRIES = 1_000_000
RECORDINGS = 10_000
MEMBERS = 10_000

# The child that reads one recording.
MEMORY_BYTES = GIB
OPEN_FILES = 64
ANSWER_BYTES = 6 * MIB  # and is told web as a part of what web takes up to 8 MiB of

# metadata.yaml: the longest seen in the wild has 450 bytes a topic and nests 8 deep.
METADATA_BYTES = MIB
METADATA_NODES = 200_000
METADATA_DEPTH = 20

# What a recording may hold.
TOPICS = 10_000
# A ROS 1 bag numbers each publisher of a topic anew.
CONNECTIONS = 100_000
NAME_CHARACTERS = 1_024
TABLES = 64

# One row, record or chunk is held in memory, a chunk packed and unpacked at once: three of these fit MEMORY_BYTES.
RECORD_BYTES = 256 * MIB
# Where a ROS 1 bag is torn: how far the next chunk is looked for, and how often.
STRAY_BYTES = 256 * MIB
STRAYS = 200
# The header of a record of a ROS 1 bag: a few numbers, and at most the name of a topic.
HEADER_BYTES = 64 * KIB

# Unpacking. What goes to disk is bound more tightly than what only streams by: images of a dark world pack 10,000:1 and
# are no bomb, which reaches 32,000:1.
UNPACKED_BYTES = 64 * GIB
UNPACKED_RATIO = 1_000
UNPACKED_FLOOR = GIB
ZSTD_WINDOW = 128 * MIB

# Lists in an answer.
PROBLEMS_PER_CODE = 20
GAPS = 100
