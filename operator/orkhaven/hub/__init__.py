"""The hub: what was measured. Takes metrics in, keeps their history, serves them, and writes a run's progress,
objective and metrics into its Experiment's status.

May import `api`, `kube` and `orkrun.contract`; never `core`, `engine`, `feed`, kubernetes or kopf. Decides nothing
about lifecycle.
"""
