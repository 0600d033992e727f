"""Who approves of a version: answers in the log, how an approver is known, who may not, and what they are shown."""
