"""Where the time of a request went: the statements that the app sent to its databases, and its calls to other servers."""
