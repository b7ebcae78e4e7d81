"""Several annotators per slice: joining their masks to one target, and how far they agree. numpy only, no torch."""
