"""The ledger: where the GPU-hours went, by day, namespace, person, sweep, model and what came of them.

`lines` makes lines of what an Experiment's status says, `recorder` follows the cluster, `store` keeps them, `report`
adds up.
"""
