"""What the commands of the command line do; `i4d.cli` parses and prints, nothing else."""
