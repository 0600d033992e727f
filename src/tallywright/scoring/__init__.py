"""Scoring: from the pinned input of one day to one Delta commit; fragments, engines, the kernel, the sink."""
