"""Configurations, one a data set; `attnjax configs` lists them."""
