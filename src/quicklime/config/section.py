"""What every group of settings is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

DAY_SECONDS = 86_400


class Section(BaseModel):
    """Base of every group of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")
