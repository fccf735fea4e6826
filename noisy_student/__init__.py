"""Noisy Student Training (Xie, Luong, Hovy, Le, CVPR 2020): the method, stage by stage."""

from noisy_student import _startup

__version__ = "0.1.0"
_startup.install()
