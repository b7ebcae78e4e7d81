"""All that is said of a trained model: figures, overlays, a card. No torch."""

from ctseg.report.write import FOLDER, write

__all__ = ["FOLDER", "write"]
