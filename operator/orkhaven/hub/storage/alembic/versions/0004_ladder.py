"""Runs know the rungs at which early stopping compares them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("ladder", sa.String(256), nullable=True))
