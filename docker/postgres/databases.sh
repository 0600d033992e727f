#!/bin/sh
# Runs once, when the volume is new: a database and a role of its own for Airflow and for MLflow.
set -eu
for name in airflow mlflow; do
  case "$name" in
    airflow) password=$AIRFLOW_DB_PASSWORD ;;
    mlflow) password=$MLFLOW_DB_PASSWORD ;;
  esac
  psql --no-psqlrc --quiet --username "$POSTGRES_USER" --dbname postgres \
    --set ON_ERROR_STOP=1 --set name="$name" --set password="$password" <<'SQL'
create role :"name" login password :'password';
create database :"name" owner :"name";
revoke all on database :"name" from public;
SQL
done
