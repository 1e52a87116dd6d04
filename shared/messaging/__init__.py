"""Everything that speaks Redis and Celery: task names, pub/sub, and the telling of what was committed."""
