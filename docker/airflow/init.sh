#!/bin/sh
# Brings Airflow's database to this version and makes the pool that bounds heavy steps. Can be run again.
set -eu
airflow db migrate
airflow pools set tallywright "$TALLYWRIGHT_POOL_SLOTS" "Heavy steps that may run at once"
