"""Do the poses fit the pictures? Epipolar distance, synchronisation, exposure and coverage, before a run."""
