"""Monitoring of scored days: drift against the training reference, realised performance, retraining decisions."""
