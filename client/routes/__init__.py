"""The registry's routes as plans, by noun; client/registry.py and client/async_registry.py make methods of them."""

from client.routes.answers import AnswerRoutes
from client.routes.keys import KeyRoutes
from client.routes.measuring import MeasuringRoutes
from client.routes.models import ModelRoutes
from client.routes.naming import NamingRoutes
from client.routes.upkeep import UpkeepRoutes

__all__ = ["Routes"]


class Routes(ModelRoutes, NamingRoutes, AnswerRoutes, MeasuringRoutes, UpkeepRoutes, KeyRoutes):
    """All routes."""
