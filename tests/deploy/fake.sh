#!/bin/sh
# Stands for kubectl, docker, minikube and kind: writes down each call, with the objects it brings, below $FAKE; knows
# what is there from $FAKE/present, and fails where the call contains a line of $FAKE/refused.
program=${0##*/}
line="$program $*"
case $line in
    'kubectl kustomize '*) exec "$REAL_KUBECTL" "$@" ;;
    'kubectl apply --filename '* | 'kubectl create --filename '*)
        [ "$3" = - ] || exec <"$3"
        cat >"$FAKE/stdin"
        line="$line <$(awk '/^[^ ]/ { top = $1 } /^kind: / { kind = $2 }
            top == "metadata:" && /^  name: / { printf " %s/%s", kind, $2 }' "$FAKE/stdin")"
        ;;
esac
[ "$program" != docker ] || line="$line${DOCKER_HOST:+ @$DOCKER_HOST}"
echo "$line" >>"$FAKE/calls"
while read -r refused; do
    case $line in
        *"$refused"*) echo "$program refuses" >&2 && exit 1 ;;
    esac
done <"$FAKE/refused"
case $line in
    'kubectl apply '*) { echo ---; cat "$FAKE/stdin"; } >>"$FAKE/applied" ;;
    'kubectl create '*) echo secret/robot-secrets >>"$FAKE/present" ;;
    'kubectl config current-context') cat "$FAKE/context" ;;
    'kubectl get endpointslices '*) echo endpointslice/robot-backend-service-x ;;
    'kubectl get '*' --output=name')
        for word; do
            case $word in */*) grep -qx "$word" "$FAKE/present" || exit 1 ;; esac
        done
        ;;
    'minikube docker-env'*) echo 'export DOCKER_HOST=inside' ;;
esac
