from tallywright.reporting.reader import scores as scores

__all__ = ["__version__", "scores"]
__version__: str
