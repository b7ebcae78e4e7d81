"""What a prediction is worth. Numpy only; scipy where distances and components are asked for. No torch."""

from ctseg.metrics.overlap import NAMES, Counts, by_case, count, ratios, summarize

__all__ = ["NAMES", "Counts", "by_case", "count", "ratios", "summarize"]
