"""Brings a store to this version's layout at start, and refuses one that a newer version made."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from orkhaven.hub.storage.engine import Engines, StoreError

SCRIPTS = Path(__file__).parent / "alembic"
_LOCK = 0x0_12_4A_BE
"""PostgreSQL advisory lock: of several hubs that start at once, one migrates."""


def migrate(engines: Engines) -> None:
    """Raises StoreError. All in one transaction: a migration that fails leaves the store as it was."""
    config = _config()
    try:
        with engines.writer.begin() as connection:
            if not engines.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            _refuse_newer(connection, config)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except SQLAlchemyError as error:
        raise StoreError(f"the store {engines.writer.url!r} cannot be opened or migrated: {error}") from error


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    return config


def _refuse_newer(connection: Connection, config: Config) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    for revision in MigrationContext.configure(connection).get_current_heads():
        if revision not in known:
            raise StoreError(
                f"the store {connection.engine.url!r} was made by a newer Orkhaven (revision {revision}); this "
                f"one knows {', '.join(sorted(known))}. Run that version again, or restore the copy made before."
            )
