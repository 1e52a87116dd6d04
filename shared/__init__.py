"""What both the web and the worker processes load, and nothing else."""
