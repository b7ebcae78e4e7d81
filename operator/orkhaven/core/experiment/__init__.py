"""One look at an Experiment: which attempt it is at, what is to be done, and its full status.

Everything is decided from what is seen now. The only memory is the status itself: an attempt's end is written before
anything is deleted that proves it, so that a crash at any point loses no cause and counts no attempt twice. `jobs` and
`pods` have to be all of this experiment's (pods by its label, whatever became of their Jobs) from a store that has
been filled once.

`plan` is the way in; `first` decides whether anything has to be run at all, `attempt` what the latest attempt is at and
what follows from its end, `draft` holds the status meanwhile.
"""

from orkhaven.core.experiment.plan import plan_experiment

__all__ = ["plan_experiment"]
