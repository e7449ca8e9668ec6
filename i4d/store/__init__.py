"""Frame blocks, frame tables and the run folder: everything that outlives a process."""
