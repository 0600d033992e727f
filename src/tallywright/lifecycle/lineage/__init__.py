"""OpenLineage events about the runs of steps, where the environment names a transport for them.

What is read and written is taken from the plan and the tables, named by the standard's rules, and sent by
openlineage-python. Nothing of it can fail a step.
"""
