"""Rollups: what keeps every question fast, however large the raw table grows.

`segment` is the data structure, `tables` and `store` keep it in the database, `job` builds it, `scheduler` runs the job,
`queries` answers from it.
"""
