"""List what a registry holds, for the end of a help screen, without importing any member."""

from __future__ import annotations

from blissmask.plugins import Registry


def list_members(flag: str, registry: Registry) -> str:
    """Return ``flag`` and one line per member: name and first docstring line."""
    names = registry.names()
    width = max((len(name) for name in names), default=0)
    return "\n".join([f"{flag} is one of", *(f"  {name:<{width}}  {registry.describe(name)}" for name in names)])
