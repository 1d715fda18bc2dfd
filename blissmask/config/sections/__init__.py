"""The tables of the configuration file, and what several of them share; a field is written here and nowhere else."""
