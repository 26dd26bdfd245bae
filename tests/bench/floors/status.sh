# A look by command lines: status.sh DEVICE TOP. Run by `unshare --mount sh -e`.
mkdir -p "$2"
mount -t btrfs -o noatime,subvolid=5 "$1" "$2"
readlink "$2/current" "$2"/current/*
btrfs subvolume list "$2"
df "$2"
