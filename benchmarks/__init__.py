"""Measurements that docs/costs.md quotes; see README.md beside this file."""
