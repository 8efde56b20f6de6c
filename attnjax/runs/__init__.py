"""Finished runs: analysed, loaded, analysed again, compared."""
