"""The instance backends by name: a file of this folder that defines ``backend(...)`` is one."""

from blissmask.plugins import Registry

PEOPLE = Registry(package="blissmask.people", marker="backend", noun="instance backend")
