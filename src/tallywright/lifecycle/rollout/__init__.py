"""The life of a challenger: what a stage has shown by a day, and what follows from it."""
