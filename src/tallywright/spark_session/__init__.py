"""The one place that makes and ends a SparkSession and stages its jars; pyspark is imported when one is asked for."""

from tallywright.spark_session.jars import delta_jars, stage_jars
from tallywright.spark_session.lifetime import end_session, session_lives, session_runs
from tallywright.spark_session.session import spark_session

__all__ = ["delta_jars", "end_session", "session_lives", "session_runs", "spark_session", "stage_jars"]
