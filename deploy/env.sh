#!/bin/sh
# Prints an .env for docker-compose.yml with new random passwords, and settings fit for others than oneself.
#   (umask 077 && deploy/env.sh you@example.com >.env)
# Before the first start: Postgres and the S3 server go on with what they were first told.
set -eu

random() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

cat <<END
SIMYARD_ENVIRONMENT=production
SIMYARD_ADMIN_EMAIL=${1:-admin@simyard.local}
SIMYARD_ADMIN_PASSWORD=$(random)
SECRET_KEY=$(random)
SIMYARD_READER_TOKEN=$(random)
POSTGRES_PASSWORD=$(random)
MINIO_ROOT_USER=robot
MINIO_ROOT_PASSWORD=$(random)
FLOWER_BASIC_AUTH=robot:$(random)
END
