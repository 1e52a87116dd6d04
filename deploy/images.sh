#!/usr/bin/env bash
# Builds the three images and brings them to where the cluster finds them.
#
#   deploy/images.sh [--repository PREFIX] [--dry-run] TAG
#
# With --repository they are called PREFIX/robot-sim-backend:TAG and so on, and pushed. Without, they go into the
# minikube or kind cluster that kubectl is set to; any other cluster shares this machine's Docker and needs no more.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deploy/steps.sh
. deploy/steps.sh

repository='' tag='' dry_run=no
while [ $# -gt 0 ]; do
    case $1 in
        --repository) repository=${2:?--repository needs a PREFIX}/ && shift ;;
        --dry-run) dry_run=yes ;;
        -h | --help) usage && exit ;;
        -*) fail "there is no option $1; see --help" ;;
        *) tag=$1 ;;
    esac
    shift
done
[[ $tag =~ ^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$ ]] || fail "a TAG is needed, of letters, digits, '.', '_' and '-'"

build() {
    run docker build --file "Dockerfile.$1" --tag "$repository$2:$tag" --build-arg "VERSION=$tag" \
        --build-arg "REVISION=$revision" .
}

cluster() {
    [ -n "$repository" ] || kubectl config current-context 2>/dev/null || true
}

need docker
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
cluster=$(cluster)
if [ "$cluster$dry_run" = minikubeno ]; then
    need minikube
    variables=$(minikube docker-env --shell bash) ||
        fail "minikube's Docker cannot be reached; start it by: minikube start --driver=docker --memory=4096 --cpus=2"
    eval "$variables"
fi
build web robot-sim-backend
build worker robot-sim-worker
build simulator robot-sim-reference
images=()
for name in backend worker reference; do
    images+=("${repository}robot-sim-$name:$tag")
done
if [ -n "$repository" ]; then
    for image in "${images[@]}"; do
        run docker push "$image"
    done
elif [[ $cluster == kind-* ]]; then
    need kind
    run kind load docker-image "${images[@]}" --name "${cluster#kind-}"
fi
