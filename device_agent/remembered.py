"""The served models and families in the database: what to load again at the next start."""

from __future__ import annotations

from device_agent.database import Database
from edge_s4op.messages import FamilyRequest, ServeRequest

__all__ = ["RememberedFamilies", "RememberedModels"]


class RememberedModels:
    """Names with their requests, and whether each is to be loaded. Raises StorageError as Database does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[str, tuple[ServeRequest, bool]]:
        """Name -> what is served under it, and whether it is loaded."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT name, request, loaded FROM models").fetchall()
        return {
            row["name"]: (ServeRequest.model_validate_json(row["request"]), bool(row["loaded"]))
            for row in rows
        }

    def put(self, name: str, request: ServeRequest, *, loaded: bool = True) -> None:
        """Remember it, in place of what was there."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO models (name, request, loaded) VALUES (?, ?, ?)",
                (name, request.model_dump_json(), int(loaded)),
            )

    def remove(self, name: str) -> None:
        """Forget it."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM models WHERE name = ?", (name,))


class RememberedFamilies:
    """Names with their requests, and the variant an operator holds. Raises StorageError as Database does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[str, tuple[FamilyRequest, str | None]]:
        """Name -> what is served under it, and the pinned variant."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT name, request, pinned FROM families").fetchall()
        return {
            row["name"]: (FamilyRequest.model_validate_json(row["request"]), row["pinned"]) for row in rows
        }

    def put(self, name: str, request: FamilyRequest, pinned: str | None) -> None:
        """Remember it, in place of what was there."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO families (name, request, pinned) VALUES (?, ?, ?)",
                (name, request.model_dump_json(), pinned),
            )

    def remove(self, name: str) -> None:
        """Forget it."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM families WHERE name = ?", (name,))
