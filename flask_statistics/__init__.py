"""Request statistics for Flask: the public names, and nothing else."""
