#define _GNU_SOURCE
#include "irqmux_vfio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

int irqmux_vfio_set_irqs(int device, uint32_t flags, uint32_t index, uint32_t start, uint32_t count,
                         const void *payload, size_t bytes) {
    union {
        struct vfio_irq_set header;
        unsigned char bytes[sizeof(struct vfio_irq_set) + irqmux_VFIO_MOST_VECTORS * sizeof(int32_t)];
    } request;
    if (bytes > irqmux_VFIO_MOST_VECTORS * sizeof(int32_t)) return -EINVAL;
    request.header.argsz = (uint32_t)(sizeof request.header + bytes);
    request.header.flags = flags;
    request.header.index = index;
    request.header.start = start;
    request.header.count = count;
    if (bytes > 0) memcpy(request.bytes + sizeof request.header, payload, bytes);
    int result = ioctl(device, VFIO_DEVICE_SET_IRQS, &request);
    return result < 0 ? -errno : result;
}

int irqmux_vfio_ioeventfd(int device, uint32_t width, uint64_t offset, uint64_t value, int eventfd) {
    struct vfio_device_ioeventfd request;
    memset(&request, 0, sizeof request);
    request.argsz = sizeof request;
    request.flags = width; // the flag of a width is the width
    request.offset = offset;
    request.data = value;
    request.fd = eventfd;
    return ioctl(device, VFIO_DEVICE_IOEVENTFD, &request) < 0 ? -errno : 0;
}
_Static_assert(VFIO_DEVICE_IOEVENTFD_8 == 1 && VFIO_DEVICE_IOEVENTFD_16 == 2 && VFIO_DEVICE_IOEVENTFD_32 == 4 &&
                   VFIO_DEVICE_IOEVENTFD_64 == 8,
               "the flag of a width is the width");

int irqmux_vfio_set_vf_token(int device, const uint8_t token[16]) {
    union {
        struct vfio_device_feature header;
        unsigned char bytes[sizeof(struct vfio_device_feature) + 16];
    } request;
    request.header.argsz = sizeof request;
    request.header.flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_PCI_VF_TOKEN;
    memcpy(request.bytes + sizeof request.header, token, 16);
    return ioctl(device, VFIO_DEVICE_FEATURE, &request) < 0 ? -errno : 0;
}

int irqmux_vfio_probe_feature(int device, uint32_t feature, uint32_t access) {
    struct vfio_device_feature request = {sizeof request, VFIO_DEVICE_FEATURE_PROBE | access | feature};
    return ioctl(device, VFIO_DEVICE_FEATURE, &request) < 0 ? -errno : 0;
}

int irqmux_vfio_hot_reset(int device, const int32_t *groups, uint32_t count) {
    enum { most = 64 };
    union {
        struct vfio_pci_hot_reset header;
        unsigned char bytes[sizeof(struct vfio_pci_hot_reset) + most * sizeof(int32_t)];
    } request;
    if (count > most) return -E2BIG;
    memset(&request, 0, sizeof request.header);
    request.header.argsz = (uint32_t)(sizeof request.header + count * sizeof(int32_t));
    request.header.count = count;
    if (count > 0) memcpy(request.bytes + sizeof request.header, groups, count * sizeof(int32_t));
    return ioctl(device, VFIO_DEVICE_PCI_HOT_RESET, &request) < 0 ? -errno : 0;
}

// The decimal number that `text` is, all of it, after `prefix`; -ENOENT when it is none.
static int number_after(const char *text, const char *prefix) {
    size_t length = strlen(prefix);
    if (strncmp(text, prefix, length) != 0 || text[length] < '0' || text[length] > '9') return -ENOENT;
    unsigned long long number = strtoull(text + length, NULL, 10);
    return number > 0x7fffffff ? -ENOENT : (int)number;
}

int irqmux_vfio_group_of(const char *directory) {
    char path[512], target[512];
    if (snprintf(path, sizeof path, "%s/iommu_group", directory) >= (int)sizeof path) return -ENAMETOOLONG;
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0) return -errno;
    target[length] = 0;
    const char *name = strrchr(target, '/');
    return number_after(name ? name + 1 : target, "");
}

int irqmux_vfio_cdev_of(const char *directory) {
    char path[512];
    if (snprintf(path, sizeof path, "%s/vfio-dev", directory) >= (int)sizeof path) return -ENAMETOOLONG;
    DIR *entries = opendir(path);
    if (!entries) return -errno;
    int number = -ENOENT;
    for (struct dirent *entry; number < 0 && (entry = readdir(entries));) number = number_after(entry->d_name, "vfio");
    closedir(entries);
    return number;
}

int irqmux_vfio_open(const char *path) {
    int fd;
    do { fd = open(path, O_RDWR | O_CLOEXEC); } while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

int irqmux_vfio_read(int device, void *bytes, size_t count, uint64_t offset) {
    ssize_t result = pread(device, bytes, count, (off_t)offset);
    return result < 0 ? -errno : (int)result;
}

int irqmux_vfio_write(int device, const void *bytes, size_t count, uint64_t offset) {
    ssize_t result = pwrite(device, bytes, count, (off_t)offset);
    return result < 0 ? -errno : (int)result;
}

int irqmux_vfio_map(int device, uint64_t offset, size_t size, int readable, int writable, void **address) {
    int protection = (readable ? PROT_READ : 0) | (writable ? PROT_WRITE : 0);
    void *mapping = mmap(NULL, size, protection, MAP_SHARED, device, (off_t)offset);
    if (mapping == MAP_FAILED) return -errno;
    *address = mapping;
    return 0;
}

void irqmux_vfio_unmap(void *address, size_t size) { (void)munmap(address, size); }
