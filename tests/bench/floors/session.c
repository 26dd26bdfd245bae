/* A session: session DEVICE TOP ID COMMON, as session.py does it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/btrfs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char buffer[8][4096];
static int turn;

static char *at(const char *a, const char *b, const char *c)
{
    char *place = buffer[turn++ % 8];
    snprintf(place, sizeof buffer[0], "%s%s%s", a, b, c);
    return place;
}

static void must(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        _exit(1);
    }
}

static void bind_to(const char *source, const char *target, unsigned long flags)
{
    must(mount(source, target, "", MS_BIND, ""), target);
    must(mount("", target, "", MS_BIND | MS_REMOUNT | flags, ""), target);
}

static void keep(const char *top, const char *root, const char *common)
{
    int status;

    must(unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS), "unshare");
    must(mount("proc", at(root, "/proc", ""), "proc", 0xE, ""), "proc");
    bind_to("/proc/sys", at(root, "/proc/sys", ""), MS_RDONLY);
    if (access("/proc/sysrq-trigger", F_OK) == 0)
        bind_to("/proc/sysrq-trigger", at(root, "/proc/sysrq-trigger", ""), MS_RDONLY);
    must(mount("sysfs", at(root, "/sys", ""), "sysfs", 0xF, ""), "sysfs");
    bind_to("/dev", at(root, "/dev", ""), 0xB);
    bind_to("/dev/pts", at(root, "/dev/pts", ""), 0xA);
    must(mount("tmpfs", at(root, "/dev/shm", ""), "tmpfs", 0x6, "mode=1777"), "shm");
    must(mount("tmpfs", at(root, "/run", ""), "tmpfs", 0x6, "mode=755"), "run");
    bind_to(at(top, "/commons/", common), at(root, "/home", ""), MS_NOATIME);
    pid_t child = fork();
    if (child == 0) {
        must(chroot(root), "chroot");
        must(chdir("/"), "chdir");
        execl("/bin/true", "/bin/true", (char *)0);
        _exit(127);
    }
    must(waitpid(child, &status, 0), "waitpid");
    _exit(status != 0);
}

static void write_fstab(const char *top, const char *root, const char *name)
{
    char text[65536], *place;
    FILE *in = fopen(at(top, "/fstab", ""), "r"), *out = fopen(at(root, "/etc/fstab", ""), "w");
    size_t length = fread(text, 1, sizeof text - 1, in);

    text[length] = 0;
    place = strstr(text, "CURRENT_SNAPSHOTS_PATH");
    if (place)
        fprintf(out, "%.*s/snapshots/%s%s", (int)(place - text), text, name, place + strlen("CURRENT_SNAPSHOTS_PATH"));
    else
        fputs(text, out);
    fclose(in);
    fclose(out);
}

int main(int count, char **words)
{
    const char *device = words[1], *top = words[2], *name = words[3], *common = words[4];
    char new[4096], root[4096], links[4096], target[4096];
    struct btrfs_ioctl_vol_args_v2 snapshot = {.name = "@"};
    unsigned long long flags = 0;
    int number, status;

    if (count != 5)
        return 2;
    mkdir(top, 0700);
    must(unshare(CLONE_NEWNS), "unshare");
    must(mount("", "/", "", MS_SLAVE | MS_REC, ""), "/");
    must(mount(device, top, "btrfs", MS_NOATIME, "subvolid=5"), top);
    int fd = open(top, O_RDONLY);
    snprintf(new, sizeof new, "%s/snapshots/%s", top, name);
    snprintf(root, sizeof root, "%s/snapshots/%s/@", top, name);
    must(mkdir(new, 0755), new);
    int into = open(new, O_RDONLY);
    snapshot.fd = open(at(top, "/current/0/@", ""), O_RDONLY);
    must(ioctl(into, BTRFS_IOC_SNAP_CREATE_V2, &snapshot), "snapshot");
    write_fstab(top, root, name);
    must(unshare(CLONE_NEWPID), "unshare");
    pid_t keeper = fork();
    if (keeper == 0)
        keep(top, root, common);
    must(waitpid(keeper, &status, 0), "waitpid");
    if (status != 0)
        return 1;
    FILE *record = fopen(at(new, "/sysmut.json", ""), "w");
    fprintf(record, "{\"generation\": \"%s\"}\n", name);
    fclose(record);
    int sealed = open(root, O_RDONLY);
    must(ioctl(sealed, BTRFS_IOC_SUBVOL_GETFLAGS, &flags), "flags");
    flags |= BTRFS_SUBVOL_RDONLY;
    must(ioctl(sealed, BTRFS_IOC_SUBVOL_SETFLAGS, &flags), "seal");
    snprintf(links, sizeof links, "%s/links/%s", top, name);
    must(mkdir(links, 0755), links);
    must(symlink(at("../../snapshots/", name, ""), at(links, "/0", "")), "slot 0");
    for (number = 0; number < 3; number++) {
        char before[2] = {(char)('0' + number), 0}, after[2] = {(char)('1' + number), 0};
        ssize_t length = readlink(at(top, "/current/", before), target, sizeof target - 1);
        must((int)length, "readlink");
        target[length] = 0;
        must(symlink(target, at(links, "/", after)), "slot");
    }
    must(symlink(at("./links/", name, ""), at(top, "/next/current", "")), "next");
    must(syncfs(fd), "syncfs");
    must(rename(at(top, "/next/current", ""), at(top, "/current", "")), "rename");
    must(syncfs(fd), "syncfs");
    return 0;
}
