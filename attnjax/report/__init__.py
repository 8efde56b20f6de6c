"""The files of a run -> tables, figures and one HTML page."""
