"""Networks by name: segmentation-models-pytorch's decoders over its own and timm's encoders. Nothing is ever
downloaded.

A name that does not exist and a pair that does not fit are `orkrun.InvalidParams`, found before the first step.
"""

from ctseg import quickstart

# Before the first import of timm or torchvision, which is what it is about.
quickstart.install()

from ctseg.models.build import build, parameter_count  # noqa: E402
from ctseg.models.names import check_encoder, encoder_names  # noqa: E402
from ctseg.models.network import Network  # noqa: E402
from ctseg.models.weights import load_weights  # noqa: E402

__all__ = ["Network", "build", "check_encoder", "encoder_names", "load_weights", "parameter_count"]
