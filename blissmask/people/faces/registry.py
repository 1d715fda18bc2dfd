"""The identities by name: a file of this folder that defines ``face_reader(...)`` is one."""

from blissmask.plugins import Registry

IDENTITIES = Registry(package="blissmask.people.faces", marker="face_reader", noun="identity")
