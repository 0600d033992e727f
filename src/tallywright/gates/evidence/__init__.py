"""The evidence for a promotion: metrics by day, their bounds, and how much of the year's level a try may spend."""
