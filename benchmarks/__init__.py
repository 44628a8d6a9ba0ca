"""Measurements that the README quotes; see README.md beside this file."""
