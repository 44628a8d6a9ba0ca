"""Writers: how records get into the raw table."""
