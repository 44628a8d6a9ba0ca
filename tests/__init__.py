"""Tests of Flask-Statistics; a test file mirrors the module of its name."""
