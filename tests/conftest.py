"""What holds for all tests."""

import os

from hypothesis import settings

# A busy machine is no failure of a property. The same examples each time, so that a change is to blame for what fails
# after it; `make explore` looks for others.
settings.register_profile("orkhaven", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, derandomize=False)
settings.load_profile(os.environ.get("ORKHAVEN_HYPOTHESIS", "orkhaven"))
