"""Request statistics for Flask: the public names, and nothing else."""

from .config import SettingError
from .dimensions import Dimension
from .extension import Statistics
from .models import RequestMixin

__all__ = ["Dimension", "RequestMixin", "SettingError", "Statistics"]
__version__ = "2.0.0.dev0"
