/* A collection: syscln DEVICE TOP, as syscln.py does it. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static void must(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
}

static int drop_link_sets(int top)
{
    char current[4096], *name;
    int links = openat(top, "links", O_RDONLY), dropped = 0;
    DIR *found = fdopendir(dup(links)), *inside;
    struct dirent *entry, *link;
    ssize_t length = readlinkat(top, "current", current, sizeof current - 1);

    must((int)length, "current");
    current[length] = 0;
    name = strrchr(current, '/') + 1;
    while ((entry = readdir(found))) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, name) == 0)
            continue;
        inside = fdopendir(openat(links, entry->d_name, O_RDONLY));
        while ((link = readdir(inside)))
            if (link->d_name[0] != '.')
                must(unlinkat(dirfd(inside), link->d_name, 0), link->d_name);
        closedir(inside);
        must(unlinkat(links, entry->d_name, AT_REMOVEDIR), entry->d_name);
        dropped++;
    }
    return dropped;
}

int main(int count, char **words)
{
    char path[4096], kept[4][4096];
    int number, deleted = 0;
    struct dirent *entry;

    if (count != 3)
        return 2;
    mkdir(words[2], 0700);
    must(unshare(CLONE_NEWNS), "unshare");
    must(mount("", "/", "", MS_SLAVE | MS_REC, ""), "/");
    must(mount(words[1], words[2], "btrfs", MS_NOATIME, "subvolid=5"), words[2]);
    int top = open(words[2], O_RDONLY);
    for (number = 0; number < 4; number++) {
        snprintf(path, sizeof path, "current/%d", number);
        ssize_t length = readlinkat(top, path, kept[number], sizeof kept[0] - 1);
        must((int)length, path);
        kept[number][length] = 0;
    }
    int snapshots = openat(top, "snapshots", O_RDONLY);
    DIR *found = fdopendir(dup(snapshots));
    while ((entry = readdir(found))) {
        int keep = entry->d_name[0] == '.';
        for (number = 0; number < 4; number++)
            keep |= strcmp(strrchr(kept[number], '/') + 1, entry->d_name) == 0;
        if (keep)
            continue;
        struct btrfs_ioctl_vol_args arguments = {.name = "@"};
        int directory = openat(snapshots, entry->d_name, O_RDONLY);
        must(ioctl(directory, BTRFS_IOC_SNAP_DESTROY, &arguments), entry->d_name);
        must(unlinkat(directory, "sysmut.json", 0), "sysmut.json");
        close(directory);
        must(unlinkat(snapshots, entry->d_name, AT_REMOVEDIR), entry->d_name);
        deleted++;
    }
    if (drop_link_sets(top) + deleted)
        must(ioctl(top, BTRFS_IOC_SYNC), "sync");
    return 0;
}
