/* SPDX-License-Identifier: Apache-2.0
 * Files, the monotonic clock and the cache folder: the operating system seen from the library
 * (POSIX). The only file that reads environment variables, and only to find the user's cache
 * folder. */
#include "base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint64_t read_clock(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t pum_now_ns(void) { return read_clock(CLOCK_MONOTONIC); }

uint64_t pum_thread_cpu_ns(void) { return read_clock(CLOCK_THREAD_CPUTIME_ID); }

static pumice_status open_regular(const char *path, int *out_fd, uint64_t *out_bytes,
                                  pumice_error *err)
{
    *out_fd = -1;
    *out_bytes = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return pum_fail(err, PUMICE_ERROR_IO, "cannot open '%s': %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) != 0) {
        int e = errno;
        close(fd);
        return pum_fail(err, PUMICE_ERROR_IO, "cannot read '%s': %s", path, strerror(e));
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return pum_fail(err, PUMICE_ERROR_IO, "'%s' is %s, not a file", path,
                        S_ISDIR(st.st_mode) ? "a folder" : "a device or pipe");
    }
    *out_fd = fd;
    *out_bytes = (uint64_t)st.st_size;
    return PUMICE_OK;
}

pumice_status pum_file_map(const char *path, pum_file *out_file, pumice_error *err)
{
    *out_file = (pum_file){ 0 };
    int fd;
    uint64_t bytes;
    PUM_TRY(open_regular(path, &fd, &bytes, err));
    if (bytes == 0) {
        close(fd);
        return pum_fail(err, PUMICE_ERROR_FORMAT, "'%s' is empty", path);
    }
    void *p =
        bytes <= SIZE_MAX ? mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    int e = errno;
    close(fd);
    if (p == MAP_FAILED)
        return pum_fail(err, PUMICE_ERROR_IO, "cannot map '%s': %s", path, strerror(e));
    *out_file = (pum_file){ .data = p, .size_bytes = bytes, .handle = p };
    return PUMICE_OK;
}

void pum_file_prefetch(const pum_file *file)
{
    if (file->handle)
        posix_madvise(file->handle, (size_t)file->size_bytes, POSIX_MADV_WILLNEED);
}

void pum_memory_large_pages(void *data, uint64_t bytes)
{
#ifdef MADV_HUGEPAGE
    uintptr_t first = (uintptr_t)pum_align_up((uintptr_t)data, PUM_PAGE_BYTES);
    uintptr_t end = (uintptr_t)data + (uintptr_t)bytes;
    if (bytes >= 4u << 20) madvise((void *)first, (size_t)(end - first), MADV_HUGEPAGE);
#else
    (void)data;
    (void)bytes;
#endif
}

bool pum_memory_populate(const void *data, uint64_t bytes)
{
#ifdef MADV_POPULATE_READ
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)data / page * page;
    uintptr_t end = (uintptr_t)pum_align_up((uintptr_t)data + bytes, page);
    while (madvise((void *)first, (size_t)(end - first), MADV_POPULATE_READ) != 0) {
        if (errno == EFAULT || errno == EHWPOISON) return false;
        if (errno != EINTR && errno != EAGAIN) break; /* a kernel before 5.14: they come when they are read */
    }
#else
    (void)data;
    (void)bytes;
#endif
    return true;
}

void pum_file_unmap(pum_file *file)
{
    if (file->handle) munmap(file->handle, (size_t)file->size_bytes);
    *file = (pum_file){ 0 };
}

static bool read_all(int fd, uint8_t *data, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = read(fd, data + done, bytes - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

pumice_status pum_file_read(const char *path, size_t max_bytes, uint8_t **out_data,
                            size_t *out_bytes, pumice_error *err)
{
    *out_data = NULL;
    *out_bytes = 0;
    int fd;
    uint64_t bytes;
    PUM_TRY(open_regular(path, &fd, &bytes, err));
    pumice_status status = PUMICE_OK;
    uint8_t *data = NULL;
    if (bytes > max_bytes) {
        status =
            pum_fail(err, PUMICE_ERROR_FORMAT, "'%s' is larger than %zu bytes", path, max_bytes);
    } else if (!(data = pum_alloc((size_t)bytes + 1))) {
        status = pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to read '%s'", path);
    } else if (!read_all(fd, data, (size_t)bytes)) {
        status = pum_fail(err, PUMICE_ERROR_IO, "cannot read '%s'", path);
    }
    close(fd);
    if (status != PUMICE_OK) {
        pum_free(data);
        return status;
    }
    *out_data = data;
    *out_bytes = (size_t)bytes;
    return PUMICE_OK;
}

pumice_status pum_file_write(const char *path, const void *data, size_t bytes, pumice_error *err)
{
    char temp[4096];
    int n = snprintf(temp, sizeof temp, "%s.XXXXXX", path);
    if (n < 0 || (size_t)n >= sizeof temp) {
        return pum_fail(err, PUMICE_ERROR_IO, "the path '%.80s...' is too long", path);
    }
    int fd = mkstemp(temp);
    if (fd < 0)
        return pum_fail(err, PUMICE_ERROR_IO, "cannot write '%s': %s", path, strerror(errno));
    const char *p = data;
    size_t left = bytes;
    bool ok = true;
    while (left > 0 && ok) {
        ssize_t w = write(fd, p, left);
        if (w < 0 && errno == EINTR) continue;
        ok = w > 0;
        if (ok) {
            p += w;
            left -= (size_t)w;
        }
    }
    int e = errno;
    if (close(fd) != 0 && ok) {
        ok = false;
        e = errno;
    }
    if (ok && rename(temp, path) != 0) {
        ok = false;
        e = errno;
    }
    if (ok) return PUMICE_OK;
    unlink(temp);
    return pum_fail(err, PUMICE_ERROR_IO, "cannot write '%s': %s", path, strerror(e));
}

bool pum_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool pum_is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool pum_folder_find(const char *path, const char *pattern, char *out_name, size_t capacity)
{
    DIR *folder = opendir(path);
    bool found = false;
    if (!folder) return false;
    for (const struct dirent *e = readdir(folder); e; e = readdir(folder)) {
        if (fnmatch(pattern, e->d_name, FNM_PERIOD) != 0 || strlen(e->d_name) >= capacity) continue;
        if (found && strcmp(e->d_name, out_name) >= 0) continue;
        memcpy(out_name, e->d_name, strlen(e->d_name) + 1);
        found = true;
    }
    closedir(folder);
    return found;
}

static pumice_status cannot_write(const pum_file_out *file, pumice_error *err)
{
    return pum_fail(err, PUMICE_ERROR_IO, "cannot write '%s': %s", file->path, strerror(errno));
}

pumice_status pum_file_create(const char *path, pum_file_out *out_file, pumice_error *err)
{
    size_t room = strlen(path) + sizeof ".XXXXXX";
    pum_file_out f = { .path = pum_strdup(path), .temporary = pum_alloc(room) };
    pumice_status status = PUMICE_OK;
    int fd = -1;
    *out_file = (pum_file_out){ 0 };
    if (!f.path || !f.temporary) {
        PUM_GOTO(pum_fail(err, PUMICE_ERROR_HOST_MEMORY, "no memory to write '%s'", path));
    }
    snprintf(f.temporary, room, "%s.XXXXXX", path);
    fd = mkstemp(f.temporary);
    if (fd < 0) {
        f.temporary[0] = '\0';
        PUM_GOTO(cannot_write(&f, err));
    }
    mode_t mask = umask(0); /* mkstemp's 0600 is for secrets; this is a result like any other */
    umask(mask);
    f.handle = fchmod(fd, 0666 & ~mask) == 0 ? fdopen(fd, "wb") : NULL;
    if (!f.handle) PUM_GOTO(cannot_write(&f, err));
    *out_file = f;
    return PUMICE_OK;
fail:
    if (fd >= 0) close(fd);
    pum_file_discard(&f);
    return status;
}

pumice_status pum_file_append(pum_file_out *file, const void *data, size_t bytes, pumice_error *err)
{
    if (bytes == 0 || fwrite(data, 1, bytes, file->handle) == bytes) return PUMICE_OK;
    return cannot_write(file, err);
}

pumice_status pum_file_commit(pum_file_out *file, pumice_error *err)
{
    int bad = fclose(file->handle);
    file->handle = NULL;
    if (bad || rename(file->temporary, file->path) != 0) return cannot_write(file, err);
    file->temporary[0] = '\0';
    pum_file_discard(file);
    return PUMICE_OK;
}

void pum_file_discard(pum_file_out *file)
{
    if (file->handle) fclose(file->handle);
    if (file->temporary && file->temporary[0]) unlink(file->temporary);
    pum_free(file->temporary);
    pum_free(file->path);
    *file = (pum_file_out){ 0 };
}

pumice_status pum_folder_create(const char *path, pumice_error *err)
{
    char part[4096];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return pum_fail(err, PUMICE_ERROR_IO, "bad folder name '%.80s'", path);
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != '\0') continue;
        char c = part[i];
        part[i] = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST) {
            return pum_fail(err, PUMICE_ERROR_IO, "cannot create the folder '%s': %s", part,
                            strerror(errno));
        }
        part[i] = c;
    }
    return PUMICE_OK;
}

bool pum_cache_folder(char *out, size_t capacity)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (xdg && xdg[0] == '/') n = snprintf(out, capacity, "%s/pumice", xdg);
    else if (home && home[0] == '/') n = snprintf(out, capacity, "%s/.cache/pumice", home);
    return n > 0 && (size_t)n < capacity;
}
