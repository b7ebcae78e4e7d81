"""The hub's store: SQLAlchemy over SQLite or PostgreSQL, migrated by Alembic. Knows nothing of HTTP or Kubernetes."""
