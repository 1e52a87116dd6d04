"""What runs beside web: the Celery tasks, the watcher, the runtimes, and the programs that handle recordings."""
