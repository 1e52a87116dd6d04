"""The Python SDK and the `simyard` command. Speaks HTTP only; knows nothing of how a service is built or run."""
