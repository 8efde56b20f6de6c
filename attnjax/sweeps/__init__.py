"""Many runs: the points of a sweep, the programs that they share, and what is kept of each."""
