"""All that is said of a trained model: figures, pictures, a card. No torch."""

from ctseg.report.run_folder import FOLDER
from ctseg.report.write import About, shown, write

__all__ = ["FOLDER", "About", "shown", "write"]
