#!/bin/sh
# Prints the Secret that the manifests refer to, with new random passwords; nothing of it is kept anywhere else.
#   k8s/secrets.sh you@example.com | kubectl create --filename -
# `create` refuses to replace one: the database would go on with the old password.
set -eu

random() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

admin=${1:-admin@simyard.local}
postgres=$(random)
redis=$(random)

cat <<END
apiVersion: v1
kind: Secret
metadata:
  name: robot-secrets
  namespace: robot
stringData:
  DATABASE_URL: postgresql://postgres:$postgres@postgres-service.robot:5432/robotdb
  POSTGRES_PASSWORD: $postgres
  REDIS_URL: redis://:$redis@redis-service.robot:6379/0
  REDIS_PASSWORD: $redis
  MINIO_ACCESS_KEY: robot
  MINIO_SECRET_KEY: $(random)
  SECRET_KEY: $(random)
  SIMYARD_READER_TOKEN: $(random)
  SIMYARD_ADMIN_EMAIL: $admin
  SIMYARD_ADMIN_PASSWORD: $(random)
  FLOWER_BASIC_AUTH: robot:$(random)
END
