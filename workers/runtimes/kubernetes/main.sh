# shellcheck shell=sh
# The first process of a program's container, given to its /bin/sh as text: runs the program in a session of its own,
# stops it when the stop file appears, keeps its output and its exit code.
#
#   sh -c main.sh NAME ATTEMPT SIGNAL GRACE FOLDER COMMAND...
#
# FOLDER is where the program begins; as in a shell, its name is looked for in the container's PATH, or from there.
# The first process of a pod's container ignores signals that it does not handle, and a shell that waits for a program
# handles none: so DELETE is heard of by the recorder's preStop hook, which makes the stop file. Runs under dash, bash
# and busybox.
set -u
umask 007
name=$0 attempt=$1 signal=$2 grace=$3 folder=$4
shift 4
control=$attempt/.simyard
mkdir -p "$control" "$attempt/output" "$attempt/inputs"
cd "$folder" || exit 126
[ "$name" = main ] && [ -r "$SIMYARD_PARAMETERS" ] && cat "$SIMYARD_PARAMETERS" >"$attempt/parameters.json"

# The program, or its whole session where the image has setsid.
strike() {
    [ -s "$control/$name.pid" ] && read -r program <"$control/$name.pid" || return 1
    kill -s "$1" -- "-$program" 2>/dev/null || kill -s "$1" "$program" 2>/dev/null
}

(
    while [ ! -e "$control/stop" ]; do sleep 0.2; done
    read -r word <"$control/stop" || word=
    until [ -s "$control/$name.pid" ]; do sleep 0.1; done
    [ "$word" = kill ] || strike "$signal"
    while [ "$word" != kill ] && [ "$grace" -gt 0 ] && strike 0; do
        sleep 0.2
        grace=$((grace - 1))
    done
    strike KILL
) &

log=$name.log
[ "$name" = main ] && log=log
mkfifo "$control/$name.pipe"
tee -a "$control/$log" <"$control/$name.pipe" &
tee=$!
# In the foreground: a background command of a shell ignores SIGINT, and so would the program.
(
    own="exec"
    command -v setsid >/dev/null 2>&1 && own='exec setsid'
    # shellcheck disable=SC2016 # for the inner shell
    $own /bin/sh -c 'umask 007; echo $$ >"$0"; exec "$@"' "$control/$name.pid" "$@"
) </dev/null >"$control/$name.pipe" 2>&1
code=$?

strike KILL
waited=0
while [ "$waited" -lt 20 ] && kill -0 "$tee" 2>/dev/null; do
    sleep 0.1
    waited=$((waited + 1))
done
[ "$name" = main ] && : >>"$control/stop"
# What it made for itself alone is the recorder's to read, which is another user of the same group.
chmod -R g+rwX "$attempt/output" 2>/dev/null
{ echo "exit $code"; cat "$control/limit" 2>/dev/null; } >/dev/termination-log
status=$name.status
[ "$name" = main ] && status=status
echo "$code" >"$control/$name.part" && mv "$control/$name.part" "$control/$status"
exit "$code"
