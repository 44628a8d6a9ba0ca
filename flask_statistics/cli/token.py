"""`token`: a token for a guard, and its hash for the configuration."""

from __future__ import annotations

import secrets

import click

from ..guards import token_hash
from .shared import commands


@commands.command("token")
def token() -> None:
    """Make a secret for the guard `token`, and its hash, which is what the app keeps."""
    secret = secrets.token_urlsafe()
    click.echo(f"Secret, for its owner; it is not kept:  {secret}")
    click.echo(f'Hash, for the app:  token({{"owner": "{token_hash(secret)}"}})')
