"""Request statistics for Flask: the public names, and nothing else."""

from .config import SettingError
from .dimensions import Dimension
from .extension import Statistics
from .models import RequestMixin
from .pages.own import PanelQuery
from .record import Backlog, NotStored, Record, Writer
from .signals import request_recording, requests_lost, requests_stored, rollups_updated

__all__ = [
    "Backlog",
    "Dimension",
    "NotStored",
    "PanelQuery",
    "Record",
    "RequestMixin",
    "SettingError",
    "Statistics",
    "Writer",
    "request_recording",
    "requests_lost",
    "requests_stored",
    "rollups_updated",
]
__version__ = "2.0.0.dev0"
