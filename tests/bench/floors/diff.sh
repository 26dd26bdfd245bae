# A difference by command lines: diff.sh DEVICE TOP OLD NEW. Run by `unshare --mount sh -e`.
mkdir -p "$2"
mount -t btrfs -o noatime,subvolid=5 "$1" "$2"
btrfs -q send --no-data -p "$2/snapshots/$3/@" "$2/snapshots/$4/@" | btrfs receive --dump
