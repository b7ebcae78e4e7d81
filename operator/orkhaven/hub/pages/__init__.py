"""The dashboard: pages rendered here, all of their state in the URL, small scripts for the plots.

A page shows what `kubectl get` would show to the same person, and changes something only with that person's own token.
Reads through `queries`; never the store or the API server past it.
"""
