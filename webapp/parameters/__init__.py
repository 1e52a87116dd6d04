"""What instances run with: the sets that a space of parameters makes, and the schema that they are held against."""
