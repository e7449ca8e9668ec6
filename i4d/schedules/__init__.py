"""Schedules: in which order cameras and frames are edited. One module a method, found by name
(`i4d/schedules/registry.py`); each makes a `Plan` of values out of scene and configuration.
"""
