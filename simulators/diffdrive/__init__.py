"""The reference robot: a differential drive in an arena, run as `python -m simulators.diffdrive` (see README.md)."""
