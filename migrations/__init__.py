"""Schema migrations; `alembic upgrade head` with DATABASE_URL set, or `python -m webapp.install`."""
