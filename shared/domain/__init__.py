"""What is true without any machine: states, specifications, events, errors. Standard library and pydantic only."""
