# A list by command lines: list.sh DEVICE TOP. Run by `unshare --mount sh -e`.
mkdir -p "$2"
mount -t btrfs -o noatime,subvolid=5 "$1" "$2"
readlink "$2/current" "$2"/current/*
btrfs subvolume list "$2"
find "$2/snapshots" -maxdepth 2 -name sysmut.json -exec cat {} +
