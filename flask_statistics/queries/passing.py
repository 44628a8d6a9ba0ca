"""What passes every question on by its name: a class that does something around each of them says it once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class Passing(ABC):
    """Has the questions of `interface.Queries`, each of which is one call of `_ask`."""

    @abstractmethod
    def _ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        """The answer to the question of that name."""

    def earliest(self) -> Any:
        return self._ask("earliest")

    def summary(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("summary", *arguments, **options)

    def series(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("series", *arguments, **options)

    def week(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("week", *arguments, **options)

    def breakdown(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("breakdown", *arguments, **options)

    def breakdowns(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("breakdowns", *arguments, **options)

    def profiles(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("profiles", *arguments, **options)

    def blocks(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("blocks", *arguments, **options)

    def clients(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("clients", *arguments, **options)

    def groups(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("groups", *arguments, **options)

    def exceptions(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("exceptions", *arguments, **options)

    def links(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("links", *arguments, **options)

    def requests(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("requests", *arguments, **options)

    def beside(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("beside", *arguments, **options)

    def request(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("request", *arguments, **options)

    def complete_from(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("complete_from", *arguments, **options)

    def undecided(self, *arguments: Any, **options: Any) -> Any:
        return self._ask("undecided", *arguments, **options)
