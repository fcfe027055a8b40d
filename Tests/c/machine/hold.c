#include "hold.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool by_character_device;

static bool fails(const char *what) {
    perror(what);
    return false;
}

static bool by_group(struct held *held, const char *address) {
    char path[128], group[128];
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/iommu_group", address);
    ssize_t length = readlink(path, group, sizeof group - 1);
    if (length < 0) return fails(path);
    group[length] = 0;
    snprintf(path, sizeof path, "/dev/vfio/%.100s", strrchr(group, '/') + 1);
    held->space = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
    held->group = open(path, O_RDWR | O_CLOEXEC);
    if (held->space < 0 || held->group < 0) return fails(path);
    if (ioctl(held->group, VFIO_GROUP_SET_CONTAINER, &held->space) < 0) return fails("VFIO_GROUP_SET_CONTAINER");
    if (ioctl(held->space, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU) < 0) return fails("VFIO_SET_IOMMU");
    held->device = ioctl(held->group, VFIO_GROUP_GET_DEVICE_FD, address);
    return held->device >= 0 || fails("VFIO_GROUP_GET_DEVICE_FD");
}

// struct vfio_device_bind_iommufd, of headers since Linux 6.6.
struct bind_iommufd {
    uint32_t size, flags;
    int32_t iommufd;
    uint32_t device;
};

static bool by_device(struct held *held, const char *address) {
    char path[128], name[64] = "";
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/vfio-dev", address);
    DIR *folder = opendir(path);
    if (!folder) return fails(path);
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder))
        if (!strncmp(entry->d_name, "vfio", 4)) snprintf(name, sizeof name, "%.60s", entry->d_name);
    closedir(folder);
    snprintf(path, sizeof path, "/dev/vfio/devices/%s", name);
    held->space = open("/dev/iommu", O_RDWR | O_CLOEXEC);
    held->device = open(path, O_RDWR | O_CLOEXEC);
    if (held->space < 0 || held->device < 0) return fails(path);
    struct bind_iommufd bind = {.size = sizeof bind, .iommufd = held->space};
    return ioctl(held->device, _IO(VFIO_TYPE, VFIO_BASE + 18), &bind) == 0 || fails("VFIO_DEVICE_BIND_IOMMUFD");
}

bool hold(struct held *held, const char *address) {
    *held = (struct held){-1, -1, -1};
    return by_character_device ? by_device(held, address) : by_group(held, address);
}

void let_go(struct held *held) {
    const int all[] = {held->device, held->group, held->space};
    for (int at = 0; at < 3; at++)
        if (all[at] >= 0) close(all[at]);
}
