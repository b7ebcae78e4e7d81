"""Artifacts of runs: `entry` checks what a run reports, `store` keeps it, `volume` opens what lies on an output volume,
`serve` makes bytes into answers that a browser cannot be hurt by. Knows nothing of routes.
"""
