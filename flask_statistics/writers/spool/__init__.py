"""The spool writer: requests are appended to local files, and a thread moves them to the raw table."""
