"""Quicklime: a private certificate authority whose every fact stands in one append-only log.

Reading order for a first visit: ``events.py``, ``log.py``, ``lifecycle/certificate.py``, ``authority.py``,
then any one service.
"""

__version__ = "0.1.0"
