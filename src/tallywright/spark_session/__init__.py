"""The one place that makes a SparkSession and stages the jars it needs; pyspark is imported when one is asked for."""

from tallywright.spark_session.jars import delta_jars, stage_jars
from tallywright.spark_session.session import spark_session

__all__ = ["delta_jars", "spark_session", "stage_jars"]
