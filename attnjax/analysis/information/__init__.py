"""How much of each word a state of the model still holds (Guan et al., ICML 2019)."""
