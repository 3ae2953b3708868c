"""Every setting, its default and its sentence. Only ``wiring`` and ``cli`` read it.

Sources, weakest first: the defaults here, a TOML file, the environment (``QUICKLIME_API__PORT``), a directory of secrets (one
file per setting, named like the environment variable in lower case, without the prefix: ``pkcs11__pin``), flags. ``load`` says
of each value where it came from.

Invariant: a ``Config`` that exists is whole and plausible; an unknown key is a fault, never ignored: a setting that was misspelt
would be a setting that is not in force.
"""

from quicklime.config.sections import (
    APISettings,
    Config,
    ConfigurationFault,
    ProfileSettings,
    WorkerSettings,
)
from quicklime.config.sources import Loaded, described, load, schema, settings

__all__ = [
    "APISettings",
    "Config",
    "ConfigurationFault",
    "Loaded",
    "ProfileSettings",
    "WorkerSettings",
    "described",
    "load",
    "schema",
    "settings",
]
