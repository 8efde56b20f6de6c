"""What a trained model attends to, what matters to it, and whether the two agree."""
