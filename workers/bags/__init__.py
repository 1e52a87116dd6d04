"""Recordings: bytes in, facts out; no database, no network. Used by the programs that meet bags: recorder, ingester."""
