#!/usr/bin/env bash
# Builds the next version of the images and brings it onto the development cluster, in six steps.
#
#   ./server-renew.sh [--image-repository PREFIX] [--logs] [--dry-run]
#
#   --image-repository  push the images as PREFIX/robot-sim-backend:vN and so on, and take them from there
#   --logs              follow the log of web at the end
#   --dry-run           say what would be done; nothing is changed or built
#
# All images have one version, that of .version: web and workers of one tree belong together. What is on a production
# cluster is changed by digest; see docs/deploy.md.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=deploy/steps.sh
. deploy/steps.sh

repository='' logs=no dry_run=no
while [ $# -gt 0 ]; do
    case $1 in
        --image-repository) repository=${2:?--image-repository needs a PREFIX} && shift ;;
        --logs) logs=yes ;;
        --dry-run) dry_run=yes ;;
        -h | --help) usage && exit ;;
        *) fail "there is no option $1; see --help" ;;
    esac
    shift
done

manifests=(k8s/base/server-deploy.yaml k8s/base/worker-deploy.yaml k8s/base/watcher-deploy.yaml
    k8s/base/reader-deploy.yaml k8s/base/flower-deploy.yaml k8s/base/templates.yaml)

# Everything as it was, when what is new never got to the cluster.
put_back() {
    echo "$old" >.version
    set_tag "$old"
    printf '%s: version %s was not made; .version and the manifests are as they were\n' "${0##*/}" "$new" >&2
}

set_tag() {
    local file
    for file in "${manifests[@]}"; do
        sed -E "s#(robot-sim-(backend|worker|reference)):v[0-9]+#\1:v$1#g" "$file" >"$file.new"
        cat "$file.new" >"$file"
        rm "$file.new"
    done
}

# The overlay, with images that are pulled when they come from a repository.
render() {
    if [ -z "$repository" ]; then
        kubectl kustomize k8s/overlays/dev
    else
        kubectl kustomize k8s/overlays/dev | sed -E \
            -e "s#(^|[ \"])robot-sim-(backend|worker|reference):#\1$repository/robot-sim-\2:#g" \
            -e 's/imagePullPolicy: Never/imagePullPolicy: IfNotPresent/'
    fi
}

apply() {
    echo "+ kubectl kustomize k8s/overlays/dev | kubectl apply --filename - $*"
    [ "$dry_run" = yes ] || render | kubectl apply --filename - "$@" || fail "kubectl apply was refused (above)"
}

await() {
    run kubectl rollout status "deployment/robot-$1" --namespace robot --timeout=300s ||
        fail "robot-$1 did not come up with v$new; the one before is brought back by:" \
            "kubectl rollout undo deployment/robot-$1 --namespace robot"
}

need kubectl docker
old=$(cat .version 2>/dev/null || sed -nE 's/.*robot-sim-backend:v([0-9]+).*/\1/p' "${manifests[0]}" | head -n 1)
[[ $old =~ ^[0-9]+$ ]] || fail ".version must hold a number, not '$old'"
new=$((old + 1))

say "1 of 6: version $old becomes $new, in .version"
if [ "$dry_run" = no ]; then
    trap put_back EXIT
    echo "$new" >.version
fi

say "2 of 6: images"
options=()
[ "$dry_run" = no ] || options+=(--dry-run)
[ -z "$repository" ] || options+=(--repository "$repository")
deploy/images.sh ${options[@]+"${options[@]}"} "v$new"

say "3 of 6: v$new, in ${manifests[*]}"
[ "$dry_run" = yes ] || set_tag "$new"

# Web first, for it brings the tables up to date, which the workers find then.
say "4 of 6: apply"
apply --selector app=robot-backend
trap - EXIT

say "5 of 6: rollout"
await backend
apply
for name in worker watcher reader flower; do
    await "$name"
done

if [ "$logs" = yes ]; then
    say "6 of 6: logs"
    run kubectl logs --follow deployment/robot-backend --namespace robot --container robot-backend
fi
