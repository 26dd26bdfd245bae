# A collection by command lines: syscln.sh DEVICE TOP. Run by `unshare --mount sh -e`.
mkdir -p "$2"
mount -t btrfs -o noatime,subvolid=5 "$1" "$2"
cd "$2/snapshots"
readlink "$2"/current/* | sed 's#.*/##' | sort -u >/tmp/kept.$$
ls | sort | comm -23 - /tmp/kept.$$ >/tmp/doomed.$$
sed 's#$#/@#' /tmp/doomed.$$ | xargs -r btrfs -q subvolume delete
xargs -r rm -r </tmp/doomed.$$
cd "$2/links"
ls | grep -vxF "$(basename "$(readlink "$2/current")")" | xargs -r rm -r
rm /tmp/kept.$$ /tmp/doomed.$$
btrfs filesystem sync "$2"
