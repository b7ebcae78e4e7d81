"""What every resource has: the group and version, the base of all models, conditions, the shared small types."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP = "orkhaven.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class Model(BaseModel):
    """Base of all resource models: camelCase outside, snake_case inside, frozen, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    def to_dict(self) -> dict[str, Any]:
        """As the API server takes it: camelCase, JSON types, nothing that is unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(Model):
    """Base of what is read back: a field written by a newer version is ignored, never an error."""

    model_config = ConfigDict(extra="ignore")


Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$", max_length=32)]
"""A Kubernetes quantity: "500m", "4", "16Gi"."""

Duration = Annotated[str, Field(pattern=r"^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$", min_length=2, max_length=32)]
"""A length of time: "90s", "30m", "6h", "1d12h"."""

DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)]

Number = Annotated[float, Field(allow_inf_nan=False)]


class Condition(StatusModel):
    """A Kubernetes condition (metav1.Condition)."""

    type: Annotated[str, Field(max_length=64, description="What is said, e.g. Finished.")]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="Whether it holds.")]
    reason: Annotated[str, Field(max_length=64, description="One CamelCase word: why.")]
    message: Annotated[str, Field(max_length=2048, description="A sentence for people.")] = ""
    last_transition_time: Annotated[datetime, Field(description="When status last changed.")]
    observed_generation: Annotated[int | None, Field(description="The generation of the spec that was looked at.")] = (
        None
    )
