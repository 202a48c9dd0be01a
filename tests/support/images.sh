#!/usr/bin/env bash
# The images and the volume that tests of the Docker runtime start containers from. Run by tests/run with an engine there:
#
#   tests/support/images.sh base | runners | cache | fixture [CARGO-OPTION...]
#   tests/support/images.sh volume       makes the volume that `cache` fills, and says which it is
#
# The base images of deploy/Dockerfile.* have their real names, so that the files are built as they are. Where a registry
# answers they are pulled; where none does (and under CI, so that nothing depends on it) they are made of what this machine
# has: its C library, Node and npm out of npm's packages, its Python, uv out of PyPI's, and busybox for the rest.
# What was made here carries the label mcpctl.io/test-made-of with what it was made of; an image without it is never
# replaced.
set -Eeuo pipefail
trap 'printf "tests/support/images.sh:%s: status %s of: %s\n" "$LINENO" "$?" "$BASH_COMMAND" >&2' ERR
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck source=tests/support/tools.sh
source "$root/tests/support/tools.sh"

made_of_label=mcpctl.io/test-made-of
uv_image=$(sed -n 's/^COPY --from=\([^ ]*\) .*/\1/p' "$root/deploy/Dockerfile.python-runner")

# image_label IMAGE: what it was made of; empty where it was not made here; fails where there is none.
image_label() { docker image inspect --format "{{index .Config.Labels \"$made_of_label\"}}" "$1" 2>/dev/null; }

# made_image NAME INPUT COMMAND: has the engine hold NAME, made of INPUT (a text). COMMAND FOLDER fills the folder that
# becomes the image; the array `changes` has further options of `docker import`, which INPUT need not name.
made_image() {
    local name=$1 input=$2 fill=$3 folder
    input=$(cat "$root/tests/support/images.sh" - <<<"$input" | sha256sum | cut -c1-16)
    [[ $(image_label "$name") != "$input" ]] || return 0
    folder=$work/${name//[\/:]/_}
    mkdir "$folder"
    "$fill" "$folder"
    tar --numeric-owner --owner=0 --group=0 -C "$folder" -c . |
        docker import --change "LABEL $made_of_label=$input" "${changes[@]}" - "$name"
    rm -rf "$folder"
}

# base_image NAME INPUT COMMAND: made_image, but for one that a registry gives, or that came from there.
base_image() {
    local label
    if label=$(image_label "$1"); then
        [[ -n $label ]] || return 0
    elif [[ -z ${CI:-} ]] && timeout 300 docker pull --quiet "$1"; then
        return 0
    fi
    made_image "$@"
}

# place FOLDER FILE TARGET: the program or library FILE as TARGET, with the shared libraries that it wants.
place() {
    local folder=$1 file=$2 target=$3 library home system
    mkdir -p "$folder$(dirname "$target")"
    cp -L "$file" "$folder$target"
    system=$(realpath "$(dirname "$(ldd "$BASH" | awk '$1 == "libc.so.6" { print $3 }')")")
    # A static program has none, which ldd says by failing.
    { ldd "$file" 2>/dev/null || true; } | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*/\1/p' | while read -r library; do
        # The image has no cache of ld.so: what lies outside of the system's folders goes where it is found without.
        home=$(realpath "$(dirname "$library")")
        [[ $home == /usr/lib* || $home == /lib* ]] || home=$system
        mkdir -p "$folder$home"
        [[ -e $folder$home/${library##*/} ]] || cp -L "$library" "$folder$home/"
    done
}

# debian FOLDER: what a slim Debian has, as far as servers and package managers miss it.
debian() {
    local folder=$1 word library
    mkdir -p "$folder"/{etc/ssl/certs,home,proc,root,sys,tmp,usr/bin,usr/lib,usr/lib64,usr/local/bin,var/tmp}
    chmod 1777 "$folder/tmp" "$folder/var/tmp"
    chmod 700 "$folder/root"
    for word in bin lib lib64; do
        ln -s "usr/$word" "$folder/$word"
    done
    # What ldd doesn't name: the names of the C library that others' programs link to, and what it loads to resolve hosts.
    for word in libnss_{dns,files}.so.2 libresolv.so.2 lib{pthread,rt,dl,util}.so.{0,1,2} libm.so.6 libgcc_s.so.1 libstdc++.so.6; do
        library=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p | awk -v name="$word" '$1 == name && !seen++ { print $NF }')
        [[ -z $library ]] || place "$folder" "$library" "$(realpath "$(dirname "$library")")/$word"
    done
    place "$folder" "$(command -v busybox)" /usr/bin/busybox
    # Debian's own shell and realpath: busybox's shell prefers what is built into it, and its realpath knows no `--`,
    # with which the programs of Python packages find their folder.
    place "$folder" "$(command -v dash)" /usr/bin/sh
    place "$folder" "$(command -v realpath)" /usr/bin/realpath
    busybox --list | while read -r word; do
        [[ -e $folder/usr/bin/$word ]] || ln -s busybox "$folder/usr/bin/$word"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' >"$folder/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$folder/etc/group"
    printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$folder/etc/nsswitch.conf"
    if [[ -f /etc/ssl/certs/ca-certificates.crt ]]; then
        cp /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/"
        # Where OpenSSL looks by itself.
        mkdir -p "$folder/usr/lib/ssl"
        ln -s /etc/ssl/certs "$folder/usr/lib/ssl/certs"
        ln -s /etc/ssl/certs/ca-certificates.crt "$folder/usr/lib/ssl/cert.pem"
    fi
}

fill_node() {
    local folder=$1 npm=/usr/local/lib/node_modules/npm
    debian "$folder"
    place "$folder" "$MCPCTL_TEST_NODE" /usr/local/bin/node
    mkdir -p "$folder${npm%/*}"
    cp -R "$MCPCTL_TEST_NODE_MODULES/npm" "$folder$npm"
    ln -s ../lib/node_modules/npm/bin/npm-cli.js "$folder/usr/local/bin/npm"
    ln -s ../lib/node_modules/npm/bin/npx-cli.js "$folder/usr/local/bin/npx"
}

fill_python() {
    local folder=$1 base name target module
    base=$(python3 -c 'import sys; print(sys.base_prefix)')
    name=$(python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    # Debian's Python knows that it lives in /usr; others find their library beside themselves.
    target=/usr/local
    [[ $base != /usr ]] || target=/usr
    debian "$folder"
    place "$folder" "$(realpath "$base/bin/$name")" "$target/bin/$name"
    ln -s "$name" "$folder$target/bin/python3"
    ln -s "$name" "$folder$target/bin/python"
    mkdir -p "$folder$target/lib/$name/site-packages"
    # Not what a slim image lacks either: its own tests, windows, and what others installed into it.
    tar -C "$base/lib/$name" --exclude=./site-packages --exclude=./dist-packages --exclude=./test --exclude=./idlelib \
        --exclude=./tkinter --exclude=./turtledemo --exclude=./lib2to3 --exclude='./config-*' \
        --exclude='_tkinter.*.so' --exclude='*.opt-?.pyc' --dereference -c . | tar -C "$folder$target/lib/$name" -x
    for module in "$folder$target/lib/$name"/lib-dynload/*.so; do
        place "$folder" "$base/lib/$name/lib-dynload/${module##*/}" "$target/lib/$name/lib-dynload/${module##*/}"
    done
    if [[ -d /usr/share/python-wheels ]]; then # Debian's ensurepip has its wheels there
        mkdir -p "$folder/usr/share"
        cp -R /usr/share/python-wheels "$folder/usr/share/"
    fi
    if [[ -d /usr/share/zoneinfo ]]; then
        mkdir -p "$folder/usr/share"
        cp -RL /usr/share/zoneinfo "$folder/usr/share/"
    fi
}

fill_uv() { cp -L "$tools/python/bin/uv" "$tools/python/bin/uvx" "$1/"; }

make_base_images() {
    local libraries changes
    libraries="$(ldd --version | sed -n 1p) $(busybox | sed -n 1p) $(cat /etc/ssl/certs/ca-certificates.crt 2>/dev/null | sha256sum)"
    changes=(--change 'CMD ["node"]')
    base_image node:24-slim "$("$MCPCTL_TEST_NODE" --version) $(jq -r .version "$MCPCTL_TEST_NODE_MODULES/npm/package.json") $libraries" fill_node
    changes=(--change 'CMD ["python3"]')
    base_image python:3.11-slim "$(python3 -c 'import sys; print(sys.version, sys.base_prefix)') $libraries" fill_python
    local pinned
    pinned=$(sed -n 's/^uv==//p' "$root/tests/acceptance/python/requirements.txt")
    if [[ ${uv_image##*:} != "$pinned" ]]; then
        echo "deploy/Dockerfile.python-runner names $uv_image, tests/acceptance/python/requirements.txt uv $pinned" >&2
        return 1
    fi
    changes=()
    base_image "$uv_image" "$pinned $("$tools/python/bin/uv" --version)" fill_uv
}

# build_image NAME: out of the Dockerfile on stdin, without a context and without a network, as mcpd can do it.
build_image() { DOCKER_BUILDKIT=0 docker build --quiet --force-rm --network none --tag "$1" - >/dev/null; }

make_runner_images() {
    build_image "$MCPCTL_TEST_NODE_RUNNER_IMAGE" <"$root/deploy/Dockerfile.node-runner"
    build_image "$MCPCTL_TEST_PYTHON_RUNNER_IMAGE" <"$root/deploy/Dockerfile.python-runner"
    build_image "$MCPCTL_TEST_NODE_OFFLINE_IMAGE" <<<"FROM $MCPCTL_TEST_NODE_RUNNER_IMAGE"$'\nENV npm_config_offline=true'
    build_image "$MCPCTL_TEST_PYTHON_OFFLINE_IMAGE" <<<"FROM $MCPCTL_TEST_PYTHON_RUNNER_IMAGE"$'\nENV UV_OFFLINE=1'
    # What these took the names from. Runner images have their base's label.
    docker image prune --force --filter "label=$made_of_label"
}

# The volume for containers' caches, made where it is missing; says which it is, also after it was made anew.
runner_cache() {
    docker volume create --label "$made_of_label=caches" "$runner_cache_volume" >/dev/null
    docker volume inspect --format '{{.Name}} {{.CreatedAt}}' "$runner_cache_volume"
}

# The caches that tests/run filled, once more: a container writes to its cache, and as a user who is none of this machine.
fill_runner_cache() {
    local older
    for older in $(docker volume ls --quiet --filter "label=$made_of_label=caches"); do
        # Another checkout may use its own just now.
        [[ $older == "$runner_cache_volume" ]] || docker volume rm "$older" || true
    done
    local run=(docker run --rm --init --network none --volume "$runner_cache_volume:/cache")
    tar -C "$tools" --exclude=_logs --transform 's/^\(npm\|uv\)-cache/\1/' -c npm-cache uv-cache |
        "${run[@]}" --interactive "$MCPCTL_TEST_NODE_OFFLINE_IMAGE" tar -x -C /cache
    # uv keeps an environment for each Python, and the image's is another one than this machine's.
    "${run[@]}" "$MCPCTL_TEST_PYTHON_OFFLINE_IMAGE" uvx "$time_package" </dev/null
    "${run[@]}" "$MCPCTL_TEST_NODE_OFFLINE_IMAGE" npx -y "$everything_package" </dev/null
    "${run[@]}" "$MCPCTL_TEST_NODE_OFFLINE_IMAGE" chmod -R a+rwX /cache
}

# make_fixture [OPTION...]: the fixture server, linked statically so that an image can be it and nothing else. Only the
# last crate is built in a way of its own, so that everything under it is what the tests' build made.
make_fixture() {
    local built
    built=$(cargo rustc --manifest-path "$root/Cargo.toml" --locked --example fixture_server \
        --message-format json-render-diagnostics "$@" -- -C target-feature=+crt-static |
        jq -r 'select(.executable != null).executable')
    # Whole or not there: tests of another run may start it just now.
    cp "$built" "$MCPCTL_TEST_FIXTURE_SERVER.new"
    mv "$MCPCTL_TEST_FIXTURE_SERVER.new" "$MCPCTL_TEST_FIXTURE_SERVER"
}

fill_fixture() {
    mkdir "$1/tmp"
    chmod 1777 "$1/tmp"
    cp "$MCPCTL_TEST_FIXTURE_SERVER" "$1/fixture_server"
}

make_fixture_images() {
    local built changes=(--change 'ENV FIXTURE_HOST=0.0.0.0')
    built=$(sha256sum <"$MCPCTL_TEST_FIXTURE_SERVER")
    made_image "$MCPCTL_TEST_FIXTURE_BARE_IMAGE" "$built" fill_fixture
    changes+=(--change 'ENTRYPOINT ["/fixture_server"]')
    made_image "$MCPCTL_TEST_FIXTURE_IMAGE" "$built" fill_fixture
}

work=$(mktemp -d "$tools/images.XXXXXX")
trap 'rm -rf "$work"' EXIT
what=${1:-}
shift || true
case $what in
    base) make_base_images ;;
    runners) make_runner_images ;;
    volume) runner_cache ;;
    cache) fill_runner_cache ;;
    fixture)
        make_fixture "$@"
        make_fixture_images
        ;;
    *) echo "tests/support/images.sh: base, runners, volume, cache or fixture" >&2 && exit 2 ;;
esac
