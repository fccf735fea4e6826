"""Devices, preemption and inference."""
