"""The ledger: what pods have held of GPUs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "usage",
        sa.Column("uid", sa.String(64), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("pod", sa.String(253), nullable=False),
        sa.Column("namespace", sa.String(63), nullable=False),
        sa.Column("name", sa.String(253), nullable=False),
        sa.Column("creator", sa.String(253), nullable=False),
        sa.Column("sweep", sa.String(253), nullable=False),
        sa.Column("model", sa.String(253), nullable=False),
        sa.Column("spent", sa.String(16), nullable=False),
        sa.Column("cause", sa.String(64), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("began", sa.Double(), nullable=False),
        sa.Column("ended", sa.Double(), nullable=True),
        sa.Column("gpu_seconds", sa.Double(), nullable=False),
        sa.Column("lost", sa.Double(), nullable=True),
        sa.Column("seen", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("uid", "attempt", "pod"),
    )
    op.create_index("usage_by_namespace", "usage", ["namespace", "ended"])
    op.create_index("usage_by_spent", "usage", ["spent"])


def downgrade() -> None:
    op.drop_table("usage")
