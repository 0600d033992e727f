"""Profiles: exact, mergeable counters made while scoring, and the distances between them."""
