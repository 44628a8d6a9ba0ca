"""What each page of the dashboard shows, composed into dataclasses that templates only have to print.

Every module is named after what it composes, and so is its template.
"""
