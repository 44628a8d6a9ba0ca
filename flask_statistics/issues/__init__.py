"""Issues: exceptions that are one, and what of a traceback is the app's own."""
