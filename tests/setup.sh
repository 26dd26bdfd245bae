# Sourced by ./check and ./demo: installs what is missing. On Debian by apt-get; elsewhere it says
# what is missing.

PATH=$PATH:/usr/sbin:/sbin:/usr/lib/execline/bin
export PATH DEBIAN_FRONTEND=noninteractive
debian="btrfs-progs python3 python3-venv python3-click python3-btrfsutil mmdebstrap execline
    busybox-static acl attr zstd xz-utils bzip2 strace mount util-linux libc-bin libcap2-bin e2fsprogs
    qemu-system-x86 ovmf mtools dosfstools gdisk fdisk cpio kmod scdoc mandoc systemd patch zsh fish"
alpine="btrfs-progs py3-btrfs-progs py3-click python3 util-linux coreutils tar zstd"

need_root() {
    [ "$(id -u)" -eq 0 ] || { echo "$0: only root can do this; run it with sudo or doas" >&2; exit 77; }
}

need_programs() {
    missing=
    for program; do
        command -v "$program" >/dev/null || missing="$missing $program"
    done
    /usr/bin/python3 -c 'import btrfsutil, click, ensurepip' 2>/dev/null || missing="$missing python3-packages"
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "$0: missing:$missing" >&2
        echo "$0: on Alpine: apk add $(echo $alpine)" >&2
        exit 69
    fi
    echo "installing what is missing:$missing"
    apt-get update -q >/dev/null
    apt-get install -y -q --no-install-recommends $debian >/dev/null
}

# A virtual environment beside the sources, made anew when setup.cfg has changed. It sees the
# distribution's packages, for btrfsutil must be the one that matches the system's library.
need_environment() {
    if ! cmp -s setup.cfg .venv/made-for; then
        echo "making the Python environment in .venv"
        /usr/bin/python3 -m venv --clear --system-site-packages .venv
        .venv/bin/pip install -q --disable-pip-version-check --config-settings editable_mode=compat -e .
        cp setup.cfg .venv/made-for
    fi
}

need_test_packages() {
    if [ ! -e .venv/made-for-tests ]; then
        .venv/bin/pip install -q --disable-pip-version-check --config-settings editable_mode=compat -e '.[test]'
        touch .venv/made-for-tests
    fi
}
