#!/usr/bin/env bash
# Installs Simyard on the cluster that kubectl is set to, or brings it up to date; safe again at any time.
#
#   ./install.sh [--overlay dev|prod] [--image-repository PREFIX] [--admin EMAIL] [--no-build] [--dry-run]
#
#   --overlay           dev (the default): a laptop, images built here; prod: see docs/deploy.md for what it asks for
#   --image-repository  take the images from PREFIX/robot-sim-backend and so on instead of building them
#   --admin             the first administrator, when passwords are made (admin@simyard.local)
#   --no-build          the images are in the cluster already
#   --dry-run           say what would be done; the cluster is not asked
#
# Namespaces, passwords if there are none, Postgres, the S3 server, Redis, the metrics server, web, then the rest; each
# is waited for, at most 300 s. Exit code 0: everything runs and web reaches all that it needs.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=deploy/steps.sh
. deploy/steps.sh

overlay=dev repository='' admin=admin@simyard.local build=yes dry_run=no
while [ $# -gt 0 ]; do
    case $1 in
        --overlay) overlay=${2:?--overlay needs dev or prod} && shift ;;
        --image-repository) repository=${2:?--image-repository needs a PREFIX} && shift ;;
        --admin) admin=${2:?--admin needs an EMAIL} && shift ;;
        --no-build) build=no ;;
        --dry-run) dry_run=yes ;;
        -h | --help) usage && exit ;;
        *) fail "there is no option $1; see --help" ;;
    esac
    shift
done
[[ $overlay =~ ^(dev|prod)$ ]] || fail "there is no overlay $overlay, only dev and prod"

# The objects of the overlay, with the images from where they are.
render() {
    kubectl kustomize "k8s/overlays/$overlay" >"$rendered" || fail "k8s/overlays/$overlay cannot be rendered"
    [ -z "$repository" ] || sed -E -i.bak \
        -e "s#(^|[ \"])([A-Za-z0-9.:/_-]+/)?robot-sim-(backend|worker|reference)([:@])#\1$repository/robot-sim-\3\4#g" \
        -e 's/imagePullPolicy: Never/imagePullPolicy: IfNotPresent/' "$rendered"
}

# What an overlay needs that this script does not bring; everything that is missing is named at once.
check_prerequisites() {
    local missing=''
    kubectl version --output=json >/dev/null || fail "the cluster does not answer; see: kubectl config current-context"
    if [ "$overlay" = prod ]; then
        ! grep -q 'sha256:0\{64\}' "$rendered" || missing+=$'\n  digests of the images, in k8s/overlays/prod'
        ! grep -q 'example\.com' "$rendered" || missing+=$'\n  hosts and repositories instead of example.com, in k8s'
        present apiservice/v1beta1.metrics.k8s.io || missing+=$'\n  a metrics server, which the HPAs ask'
        present crd/servicemonitors.monitoring.coreos.com || missing+=$'\n  kube-prometheus-stack, in monitoring'
        present crd/certificates.cert-manager.io || missing+=$'\n  cert-manager'
        present ingressclass/nginx || missing+=$'\n  ingress-nginx'
        present --namespace robot secret/robot-backup || missing+=$'\n  the Secret robot-backup, in namespace robot'
    fi
    [ -z "$missing" ] || fail "what is missing (docs/deploy.md, production):$missing"
}

present() {
    kubectl get "$@" --output=name >/dev/null 2>&1
}

# Those of the rendered objects that are named, by KIND or KIND/NAME.
pick() {
    awk -v wanted=" $* " '
        function flush() {
            if (index(wanted, " " kind " ") || index(wanted, " " kind "/" name " ")) printf "---\n%s", text
            text = kind = name = ""
        }
        /^---$/ { flush(); next }
        { text = text $0 "\n" }
        /^[^ ]/ { top = $1 }
        /^kind: / { kind = $2 }
        top == "metadata:" && /^  name: / { name = $2 }
        END { flush() }' "$rendered"
}

# Applies the named objects; an overlay need not have them.
apply() {
    local objects
    objects=$(pick "$@")
    [ -n "$objects" ] || return 0
    printf '+ kubectl apply: %s\n' "$*"
    [ "$dry_run" = yes ] || kubectl apply --filename - <<<"$objects" || fail "kubectl apply was refused (above)"
}

# Waits for one workload, and shows what there is then.
await() {
    local namespace=${2:-robot}
    run kubectl rollout status "$1" --namespace "$namespace" --timeout=300s || {
        kubectl get pods --namespace "$namespace" --output=wide >&2
        fail "$1 is not ready after 300 s; docs/runbook.md has what to look at"
    }
    run kubectl get pods,services --namespace "$namespace"
}

make_secrets() {
    if [ "$dry_run" = yes ]; then
        printf '+ k8s/secrets.sh %s | kubectl create --filename -   (unless there is a Secret robot-secrets)\n' "$admin"
    elif present --namespace robot secret/robot-secrets; then
        echo "the Secret robot-secrets is there and stays"
    elif present --namespace robot persistentvolumeclaim/data-postgres-0; then
        fail "there is a database, but not the Secret robot-secrets with its password: bring that back, or delete" \
            "the volumes by: kubectl delete persistentvolumeclaims --all --namespace robot"
    else
        k8s/secrets.sh "$admin" | kubectl create --filename - || fail "the Secret robot-secrets could not be made"
    fi
}

# Web is found by its Service, and reaches all that it depends on.
test_connections() {
    local web=http://127.0.0.1:8000
    local endpoints=(kubectl get endpointslices --namespace robot --output=name
        --selector kubernetes.io/service-name=robot-backend-service)
    printf '+ %s\n' "${endpoints[*]}"
    [ "$dry_run" = yes ] || "${endpoints[@]}" | grep -q . || fail "the Service robot-backend-service leads nowhere"
    run kubectl exec --stdin deployment/robot-backend --namespace robot --container robot-backend -- \
        python - $web/ $web/health/db $web/health/redis $web/health/storage http://robot-reader-service:8010/health \
        <deploy/connections.py || fail "a part cannot be reached from web (above)"
}

need kubectl awk sed
rendered=$(mktemp)
trap 'rm -f "$rendered" "$rendered.bak"' EXIT
render
[ "$dry_run" = yes ] || check_prerequisites

if [ "$overlay$build$repository" = devyes ]; then
    say "images"
    options=()
    [ "$dry_run" = no ] || options=(--dry-run)
    deploy/images.sh ${options[@]+"${options[@]}"} "v$(cat .version)"
fi

say "namespaces"
apply Namespace

say "passwords"
make_secrets

say "settings, rights, limits and networks"
apply ConfigMap ServiceAccount/simyard-runner Role RoleBinding/simyard-runner ResourceQuota NetworkPolicy

say "Postgres"
apply PersistentVolume/robot-postgres
apply Service/postgres-service StatefulSet/postgres
await statefulset/postgres

say "the S3 server"
apply PersistentVolume/robot-minio
apply Service/minio-service StatefulSet/minio
await statefulset/minio

say "Redis"
apply PersistentVolume/robot-redis
apply Service/redis-service StatefulSet/redis
await statefulset/redis

if [ -n "$(pick Deployment/metrics-server)" ]; then
    say "the metrics server"
    apply ServiceAccount/metrics-server ClusterRole ClusterRoleBinding RoleBinding/metrics-server-auth-reader \
        Service/metrics-server APIService Deployment/metrics-server
    await deployment/metrics-server kube-system
fi

say "web"
apply Service/robot-backend-service Deployment/robot-backend
await deployment/robot-backend

say "workers, watchers, readers, Flower"
apply Service/robot-reader-service Deployment/robot-reader Deployment/robot-worker Deployment/robot-watcher \
    Service/robot-flower-service Deployment/robot-flower
for name in reader worker watcher flower; do
    await "deployment/robot-$name"
done

say "scaling, and what else the overlay has"
run kubectl apply --filename "$rendered" || fail "kubectl apply was refused (above)"

say "connections"
test_connections

[ "$dry_run" = no ] || exit 0
cat <<END

Simyard runs. The administrator's password:
  kubectl get secret robot-secrets --namespace robot --output=jsonpath='{.data.SIMYARD_ADMIN_PASSWORD}' | base64 --decode
To reach it from this machine:
  kubectl port-forward service/robot-backend-service 8000:8000 --namespace robot
END
