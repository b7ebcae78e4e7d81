"""Runs whose turn Kueue decides (spec.queueName): what their Jobs are told, and what Kueue's Workload says of them.

Kueue releases and suspends such a Job itself, the built-in queue never. `labels` marks the Job, `workload` is what is
seen, `why` says what is waited for, `attempt` what follows for the attempt. Imports none of them here: `core.job` needs
the labels alone.
"""
