"""Starts and ends SparkSessions and stages their jars; pyspark is imported when a session is started."""

from tallywright.spark_session.jars import delta_jars, stage_jars
from tallywright.spark_session.lifetime import end_session, session_lives, session_runs
from tallywright.spark_session.session import spark_session

__all__ = ["delta_jars", "end_session", "session_lives", "session_runs", "spark_session", "stage_jars"]
