/* Files that are read and written at offsets, and files that have no name until they are whole. */
#define _GNU_SOURCE
#include "CabochonShims.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int cabochon_shim_open_file(const char *path, int *out_descriptor) {
    /* O_NONBLOCK: opening a pipe that nobody writes must not hang. */
    *out_descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return *out_descriptor < 0 ? errno : 0;
}

/* A name beside `path` that nothing has so far; who makes it must find out that it is still so. */
static int name_beside(const char *path, unsigned attempt, char *name, size_t size) {
    const char *slash = strrchr(path, '/');
    int folder = slash == NULL ? 0 : (int)(slash - path) + 1;
    int length = snprintf(name, size, "%.*s.cabochon-%ld-%llx-%u", folder, path, (long)getpid(),
                          (unsigned long long)cabochon_shim_nanoseconds(), attempt);
    return length < 0 || (size_t)length >= size ? ENAMETOOLONG : 0;
}

/* Chance and other threads may take a name first; more often than this it is no chance. */
#define ATTEMPTS 100

int cabochon_shim_create_beside(const char *path, unsigned mode, int *out_descriptor, char *name, size_t name_size) {
    int status = name_beside(path, 0, name, name_size);
    if (status != 0) return status;
    char *slash = strrchr(name, '/'), source[64];
    if (slash != NULL) slash[1] = 0;
    int descriptor = open(slash == NULL ? "." : name, O_TMPFILE | O_RDWR | O_CLOEXEC, (mode_t)mode);
    if (descriptor >= 0) {
        /* Where /proc is not mounted such a file cannot be given a name. */
        snprintf(source, sizeof source, "/proc/self/fd/%d", descriptor);
        if (access(source, F_OK) == 0) {
            *name = 0;
            *out_descriptor = descriptor;
            return 0;
        }
        close(descriptor);
    }
    for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
        if ((status = name_beside(path, attempt, name, name_size)) != 0) return status;
        *out_descriptor = open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, (mode_t)mode);
        if (*out_descriptor >= 0) return 0;
        status = errno;
        if (status != EEXIST) break;
    }
    return status;
}

/* Where a file would grow past this limit the kernel does not only refuse, but sends SIGXFSZ, which ends a process
 * that does not expect it. */
static int exceeds_limit(uint64_t count, uint64_t offset) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return 0;
    return count > limit.rlim_cur || offset > limit.rlim_cur - count;
}

int cabochon_shim_reserve(int descriptor, size_t size) {
    if (exceeds_limit(size, 0)) return EFBIG;
    /* All of its room now: a mapped file that finds the disk full raises SIGBUS. */
    if (fallocate(descriptor, 0, 0, (off_t)size) == 0) return 0;
    return errno == EOPNOTSUPP ? posix_fallocate(descriptor, 0, (off_t)size) : errno;
}

int cabochon_shim_publish(int descriptor, const char *temporary, const char *path) {
    /* A name must never stand for less than the whole file, also after a loss of power. */
    if (fdatasync(descriptor) != 0) return errno;
    if (*temporary != 0) return rename(temporary, path) == 0 ? 0 : errno;
    char source[64], name[4096];
    snprintf(source, sizeof source, "/proc/self/fd/%d", descriptor);
    int status = EEXIST;
    for (unsigned attempt = 0; attempt < ATTEMPTS && status == EEXIST; attempt++) {
        if ((status = name_beside(path, attempt, name, sizeof name)) != 0) return status;
        if (linkat(AT_FDCWD, source, AT_FDCWD, name, AT_SYMLINK_FOLLOW) != 0) status = errno;
    }
    if (status != 0) return status;
    if (rename(name, path) == 0) return 0;
    status = errno;
    unlink(name);
    return status;
}

int cabochon_shim_describe(int descriptor, cabochon_file_identity *out_identity) {
    struct stat information;
    if (fstat(descriptor, &information) != 0) return errno;
    if (!S_ISREG(information.st_mode)) return S_ISDIR(information.st_mode) ? EISDIR : EINVAL;
    out_identity->device = (uint64_t)information.st_dev;
    out_identity->inode = (uint64_t)information.st_ino;
    out_identity->size = (uint64_t)information.st_size;
    out_identity->modified =
        (int64_t)((uint64_t)information.st_mtim.tv_sec * 1000000000u) + information.st_mtim.tv_nsec;
    return 0;
}

int cabochon_shim_map_descriptor(int descriptor, size_t size, const void **out_data) {
    void *data = mmap(NULL, size, PROT_READ, MAP_SHARED, descriptor, 0);
    *out_data = data == MAP_FAILED ? NULL : data;
    return data == MAP_FAILED ? errno : 0;
}

int cabochon_shim_read_at(int descriptor, void *bytes, size_t count, uint64_t offset) {
    for (size_t done = 0; done < count;) {
        ssize_t got = pread(descriptor, (char *)bytes + done, count - done, (off_t)(offset + done));
        if (got > 0) done += (size_t)got;
        else if (got == 0) return EIO;
        else if (errno != EINTR) return errno;
    }
    return 0;
}

int cabochon_shim_write_at(int descriptor, const void *bytes, size_t count, uint64_t offset) {
    if (exceeds_limit(count, offset)) return EFBIG;
    for (size_t done = 0; done < count;) {
        ssize_t put = pwrite(descriptor, (const char *)bytes + done, count - done, (off_t)(offset + done));
        if (put >= 0) done += (size_t)put;
        else if (errno != EINTR) return errno;
    }
    return 0;
}

void cabochon_shim_will_read(int descriptor, uint64_t offset, uint64_t count) {
    posix_fadvise(descriptor, (off_t)offset, (off_t)count, POSIX_FADV_WILLNEED);
}

void cabochon_shim_close(int descriptor) { close(descriptor); }

int cabochon_shim_make_folders(const char *path) {
    char part[4096];
    int length = snprintf(part, sizeof part, "%s", path);
    if (length < 0 || (size_t)length >= sizeof part) return ENAMETOOLONG;
    for (int i = 1; i <= length; i++) {
        if (part[i] != '/' && part[i] != 0) continue;
        char end = part[i];
        part[i] = 0;
        if (mkdir(part, 0700) != 0 && errno != EEXIST) return errno;
        part[i] = end;
    }
    return 0;
}
