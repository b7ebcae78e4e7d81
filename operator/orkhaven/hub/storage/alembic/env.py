"""Alembic's entry: runs on the connection that `storage.migrate` hands over, inside its transaction."""

from alembic import context

from orkhaven.hub.storage import kept  # noqa: F401 - its tables belong to the same Base
from orkhaven.hub.storage.models import Base

connection = context.config.attributes["connection"]
# SQLite cannot change most columns in place; batch mode copies the table instead.
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
context.run_migrations()
