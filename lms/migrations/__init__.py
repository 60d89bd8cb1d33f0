"""Alembic migrations, one straight line of history."""
