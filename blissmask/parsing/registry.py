"""The semantic backends by name: a file of this folder that defines ``backend(...)`` is one."""

from blissmask.plugins import Registry

PARSING = Registry(package="blissmask.parsing", marker="backend", noun="mask backend")
