"""The container images: what goes into each, and a builder for machines with a Docker engine and without one.

Owns the Dockerfiles and the archives in the user's cache. Imports nothing of Orkhaven and, beside the standard
library, only `tests.cluster.debian`, to install Debian packages.
"""

from images.build import archive_of, build, up_to_date
from images.catalogue import IMAGES
from images.say import ImageError

__all__ = ["IMAGES", "ImageError", "archive_of", "build", "up_to_date"]
