"""Access logs: their lines, formats and files, and how they get into the raw table."""
