"""The network: four pure stages, the recurrent kernel and attention."""
