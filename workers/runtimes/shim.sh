#!/bin/sh
# The first process of an attempt on one machine. Holds the attempt's lock, waits for "go", runs the program in a
# session of its own beside a recorder, and writes the program's exit code in place.
#
#   shim.sh CONTROL HINT PYTHON COMMAND...
#
# It is started with the go pipe as stdin, the attempt's lock as stdout and the ROS domain's lock as stderr: open-file
# locks, which live as long as any of our own processes and which neither program nor recorder inherits.
set -u
exec 8<&0 9>&1 7>&2 </dev/null >/dev/null 2>/dev/null
umask 027
control=$1 hint=$2 python=$3
shift 3

# The status file was made full of blanks beforehand, so that writing it needs no disk space.
end_with() {
    printf '%-31s\n' "$1" 1<>"$control/status"
    : >"$hint"
}

# All is forked before the go, which then costs little more than the program's own start. The go is said twice: to whom
# becomes the program, and, to be read when that has ended, to whom waits for it. What opens the pipe to the recorder is
# that there is a program; the program's end closes it.
{
    # In the foreground: a background command of a shell ignores SIGINT, and so would the program.
    (
        read -r word <&8 && [ "$word" = go ] || exit 0
        if [ -e "$control/inputs" ]; then
            /usr/bin/env -i LANG=C.UTF-8 "$python" -P -m workers.inputs "$control" 2>>"$control/recorder.log" || exit 125
        fi
        cd -P /proc/self && pid=${PWD##*/} && cd "${control%/*}" || exit 126
        echo "$pid" >"$control/main.pid"
        echo started
        unset OLDPWD
        exec /usr/bin/setsid -- "$@" 7>&- 8<&- 9>&- </dev/null >>"$control/log" 2>&1
    )
    code=$?
    read -r word <&8 || code=never_started
    end_with "$code"
} | {
    exec 8<&-
    read -r word || exit 0
    : >"$hint"
    exec /usr/bin/env -i LANG=C.UTF-8 /usr/bin/setsid "$python" -P -m workers.recorder "$control" \
        7>&- 9>&- >/dev/null 2>>"$control/recorder.log"
}
: >"$hint"
