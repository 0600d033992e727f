"""What was scored, watched: comparisons with the training reference, realised quality, and what follows from both."""
