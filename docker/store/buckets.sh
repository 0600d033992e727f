#!/bin/sh
# store-buckets HOST NAME …: makes the buckets that are missing, through the store's master and filer. Can be run again.
set -eu
host=$1
shift
ask() { printf '%s\n' "$1" | weed shell -master="$host:${STORE_MASTER_PORT:-9333}" -filer="$host:${STORE_FILER_PORT:-8888}"; }
for bucket in "$@"; do
  ask s3.bucket.list | awk '{print $1}' | grep -qx "$bucket" || ask "s3.bucket.create -name $bucket"
done
