#!/bin/sh
# Restores $1 into a database of a server of its own below $2, and looks whether it is whole and no older than 30 hours.
# Exit code 0 only then. The Postgres programs are in PATH; nothing is reached over the network.
set -eu

dump=$1
export PGDATA="$2/data" PGHOST="$2" PGUSER=drill PGDATABASE=drill
echo "restoring $dump, $(wc -c <"$dump") bytes"
initdb --username=drill --auth=trust --encoding=UTF8 --no-locale --no-sync >/dev/null
pg_ctl start --silent --wait --log="$2/log" --options="-F -c listen_addresses= -c unix_socket_directories=$2"
trap 'pg_ctl stop --silent --mode=immediate' EXIT
createdb
pg_restore --exit-on-error --no-owner --dbname=drill "$dump"

# A watcher renews its lease every few seconds, so the lease tells when the dump was made.
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 <<'CHECKS'
DO $$ BEGIN
    ASSERT (SELECT count(*) FROM alembic_version) = 1, 'the tables have no revision';
    ASSERT (SELECT count(*) FROM users) > 0, 'there is nobody who could log in';
    ASSERT (SELECT count(*) FROM templates) > 0, 'there is no template';
    ASSERT (SELECT max(until) FROM leases) > now() - interval '30 hours', 'it is older than 30 hours';
END $$;
SELECT version_num AS revision, (SELECT count(*) FROM users) AS users, (SELECT count(*) FROM simulations) AS simulations,
       (SELECT count(*) FROM jobs) AS jobs, (SELECT count(*) FROM bundles) AS bundles
FROM alembic_version \gx
CHECKS
echo "the backup can be restored"
