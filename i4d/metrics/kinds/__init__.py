"""The metrics of the package, one module for what is measured together; `i4d/metrics/registry.py` names
them.
"""
