// The VFIO user-space API (<linux/vfio.h>): ioctl numbers that Swift cannot import because they are macros over other
// macros, the sizes the VFIO room relies on, what is newer than the oldest headers built against, and helpers for what
// Swift cannot spell. Everything returns a non-negative result or -errno.
#ifndef IRQMUX_VFIO_H
#define IRQMUX_VFIO_H

#include <linux/vfio.h>
#include <stddef.h>
#include <stdint.h>

_Static_assert(sizeof(struct vfio_irq_set) == 20, "VFIO_DEVICE_SET_IRQS header");
_Static_assert(sizeof(struct vfio_irq_info) == 16, "VFIO_DEVICE_GET_IRQ_INFO");
_Static_assert(sizeof(struct vfio_group_status) == 8, "VFIO_GROUP_GET_STATUS");
_Static_assert(offsetof(struct vfio_device_info, cap_offset) == 16, "VFIO_DEVICE_GET_INFO");
_Static_assert(sizeof(struct vfio_region_info) == 32, "VFIO_DEVICE_GET_REGION_INFO");
_Static_assert(sizeof(struct vfio_info_cap_header) == 8, "capability header");
_Static_assert(sizeof(struct vfio_region_info_cap_sparse_mmap) == 16, "sparse mmap capability");
_Static_assert(sizeof(struct vfio_region_sparse_mmap_area) == 16, "sparse mmap area");
_Static_assert(sizeof(struct vfio_region_info_cap_type) == 16, "region type capability");
_Static_assert(sizeof(struct vfio_device_ioeventfd) == 32, "VFIO_DEVICE_IOEVENTFD");
_Static_assert(sizeof(struct vfio_device_feature) == 8, "VFIO_DEVICE_FEATURE header");
_Static_assert(sizeof(struct vfio_pci_dependent_device) == 8, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO entry");
_Static_assert(sizeof(struct vfio_pci_hot_reset_info) == 12, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO header");
_Static_assert(sizeof(struct vfio_iommu_type1_dma_map) == 32, "VFIO_IOMMU_MAP_DMA");
_Static_assert(sizeof(struct vfio_iommu_type1_dma_unmap) == 24, "VFIO_IOMMU_UNMAP_DMA");
_Static_assert(offsetof(struct vfio_iommu_type1_info, cap_offset) == 16, "VFIO_IOMMU_GET_INFO");
_Static_assert(sizeof(struct vfio_iommu_type1_info_cap_iova_range) == 16, "IOVA range capability");
_Static_assert(sizeof(struct vfio_iommu_type1_info_dma_avail) == 12, "DMA available capability");

// ioctls of a container, a group, a device.
static const unsigned long irqmux_VFIO_GET_API_VERSION = VFIO_GET_API_VERSION;
static const unsigned long irqmux_VFIO_CHECK_EXTENSION = VFIO_CHECK_EXTENSION;
static const unsigned long irqmux_VFIO_SET_IOMMU = VFIO_SET_IOMMU;
static const unsigned long irqmux_VFIO_IOMMU_GET_INFO = VFIO_IOMMU_GET_INFO;
static const unsigned long irqmux_VFIO_IOMMU_MAP_DMA = VFIO_IOMMU_MAP_DMA;
static const unsigned long irqmux_VFIO_IOMMU_UNMAP_DMA = VFIO_IOMMU_UNMAP_DMA;
static const unsigned long irqmux_VFIO_GROUP_GET_STATUS = VFIO_GROUP_GET_STATUS;
static const unsigned long irqmux_VFIO_GROUP_SET_CONTAINER = VFIO_GROUP_SET_CONTAINER;
static const unsigned long irqmux_VFIO_GROUP_GET_DEVICE_FD = VFIO_GROUP_GET_DEVICE_FD;
static const unsigned long irqmux_VFIO_DEVICE_GET_INFO = VFIO_DEVICE_GET_INFO;
static const unsigned long irqmux_VFIO_DEVICE_GET_REGION_INFO = VFIO_DEVICE_GET_REGION_INFO;
static const unsigned long irqmux_VFIO_DEVICE_GET_IRQ_INFO = VFIO_DEVICE_GET_IRQ_INFO;
static const unsigned long irqmux_VFIO_DEVICE_SET_IRQS = VFIO_DEVICE_SET_IRQS;
static const unsigned long irqmux_VFIO_DEVICE_RESET = VFIO_DEVICE_RESET;
static const unsigned long irqmux_VFIO_DEVICE_GET_PCI_HOT_RESET_INFO = VFIO_DEVICE_GET_PCI_HOT_RESET_INFO;
static const unsigned long irqmux_VFIO_DEVICE_PCI_HOT_RESET = VFIO_DEVICE_PCI_HOT_RESET;
static const unsigned long irqmux_VFIO_DEVICE_IOEVENTFD = VFIO_DEVICE_IOEVENTFD;
static const unsigned long irqmux_VFIO_DEVICE_FEATURE = VFIO_DEVICE_FEATURE;

// Since Linux 6.6; written out because the oldest headers built against are those of 6.1. The numbers are ABI.
static const unsigned long irqmux_VFIO_DEVICE_BIND_IOMMUFD = _IO(VFIO_TYPE, VFIO_BASE + 18);
static const unsigned long irqmux_VFIO_DEVICE_ATTACH_IOMMUFD_PT = _IO(VFIO_TYPE, VFIO_BASE + 19);
static const unsigned long irqmux_VFIO_DEVICE_DETACH_IOMMUFD_PT = _IO(VFIO_TYPE, VFIO_BASE + 20);

struct irqmux_vfio_bind_iommufd {
    uint32_t argsz, flags;
    int32_t iommufd;
    uint32_t device_id; // answer
    uint64_t token;     // address of 16 bytes, with flag 1; since Linux 6.18, and left out of argsz before
};
struct irqmux_vfio_attach_iommufd {
    uint32_t argsz, flags, page_table_id;
};
struct irqmux_vfio_detach_iommufd {
    uint32_t argsz, flags;
};
enum { irqmux_VFIO_BIND_IOMMUFD_SIZE = offsetof(struct irqmux_vfio_bind_iommufd, token) };
_Static_assert(irqmux_VFIO_BIND_IOMMUFD_SIZE == 16, "VFIO_DEVICE_BIND_IOMMUFD");
_Static_assert(sizeof(struct irqmux_vfio_attach_iommufd) == 12, "VFIO_DEVICE_ATTACH_IOMMUFD_PT");

// The most vectors one request can be about: an MSI-X table has 2048 entries.
enum { irqmux_VFIO_MOST_VECTORS = 2048 };

// VFIO_DEVICE_SET_IRQS with `payload` of `bytes` bytes after the header. No allocation. 0, the kernel's positive count
// of vectors to be had, or -errno; -EINVAL, as the kernel would say, for more elements than any index has.
int irqmux_vfio_set_irqs(int device, uint32_t flags, uint32_t index, uint32_t start, uint32_t count,
                         const void *payload, size_t bytes);

// VFIO_DEVICE_IOEVENTFD. 0 or -errno.
int irqmux_vfio_ioeventfd(int device, uint32_t width, uint64_t offset, uint64_t value, int eventfd);

// VFIO_DEVICE_FEATURE for PCI_VF_TOKEN: sets the 16 bytes that drivers of virtual functions have to show.
int irqmux_vfio_set_vf_token(int device, const uint8_t token[16]);

// VFIO_DEVICE_FEATURE with PROBE; `access` is 0, VFIO_DEVICE_FEATURE_GET or _SET. 0 when there, -ENOTTY when not.
int irqmux_vfio_probe_feature(int device, uint32_t feature, uint32_t access);

// VFIO_DEVICE_PCI_HOT_RESET with the groups that the caller owns (none through a cdev). 0 or -errno.
int irqmux_vfio_hot_reset(int device, const int32_t *groups, uint32_t count);

// The IOMMU group of a device: the number at the end of the link `iommu_group` in `directory` of sysfs. -ENOENT.
int irqmux_vfio_group_of(const char *directory);

// The number N of the character device vfioN that stands in `directory`/vfio-dev (Linux 6.6). -ENOENT.
int irqmux_vfio_cdev_of(const char *directory);

// open(2) with O_RDWR | O_CLOEXEC, restarted after a signal.
int irqmux_vfio_open(const char *path);

// Region access at the device file's offset. The number of bytes, or -errno.
int irqmux_vfio_read(int device, void *bytes, size_t count, uint64_t offset);
int irqmux_vfio_write(int device, const void *bytes, size_t count, uint64_t offset);

// Maps a part of a region shared. 0 with *address set, or -errno.
int irqmux_vfio_map(int device, uint64_t offset, size_t size, int readable, int writable, void **address);
void irqmux_vfio_unmap(void *address, size_t size);

#endif
