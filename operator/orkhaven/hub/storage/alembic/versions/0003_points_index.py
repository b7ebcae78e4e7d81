"""PostgreSQL: points without their unique key.

Its index took more room than the rows: PostgreSQL splits the pages of a growing index behind the newest entry, and not
in their middle, only where an entry has at most 16 bytes. What the key kept out, the key of `lines` does: points are
written in one transaction with their line. SQLite's key is the table itself and stays.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.drop_constraint("points_pkey", "points")
    op.create_index("points_by_step", "points", ["run_id", "metric_id", "step"])
