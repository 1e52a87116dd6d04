"""What the API reads from the database, as it answers it. Reads and nothing else; `viewer` is whose private things are
seen besides everybody's (None: all of them)."""
