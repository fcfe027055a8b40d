// The iommufd user-space API (since Linux 6.2), written out because the oldest headers built against have no
// <linux/iommufd.h>. Numbers, layouts and flags are ABI; every structure begins with its own size.
#ifndef IRQMUX_IOMMUFD_H
#define IRQMUX_IOMMUFD_H

#include <linux/ioctl.h>
#include <stdint.h>

static const unsigned long irqmux_IOMMU_DESTROY = _IO(';', 0x80);
static const unsigned long irqmux_IOMMU_IOAS_ALLOC = _IO(';', 0x81);
static const unsigned long irqmux_IOMMU_IOAS_IOVA_RANGES = _IO(';', 0x84);
static const unsigned long irqmux_IOMMU_IOAS_MAP = _IO(';', 0x85);
static const unsigned long irqmux_IOMMU_IOAS_UNMAP = _IO(';', 0x86);
static const unsigned long irqmux_IOMMU_GET_HW_INFO = _IO(';', 0x8a); // Linux 6.7

enum {
    irqmux_IOMMU_MAP_FIXED_IOVA = 1 << 0,
    irqmux_IOMMU_MAP_WRITEABLE = 1 << 1,
    irqmux_IOMMU_MAP_READABLE = 1 << 2,
};

struct irqmux_iommu_destroy {
    uint32_t size, id;
};
struct irqmux_iommu_ioas_alloc {
    uint32_t size, flags;
    uint32_t id; // answer
};
struct irqmux_iommu_ioas_iova_ranges {
    uint32_t size, id;
    uint32_t count; // room; answer: how many there are
    uint32_t reserved;
    uint64_t ranges; // address of pairs: first, last
    uint64_t alignment; // answer
};
struct irqmux_iommu_ioas_map {
    uint32_t size, flags, id, reserved;
    uint64_t user_address, length, iova;
};
struct irqmux_iommu_ioas_unmap {
    uint32_t size, id;
    uint64_t iova;
    uint64_t length; // answer: how much was unmapped
};
struct irqmux_iommu_hw_info {
    uint32_t size, flags, device_id, data_length;
    uint64_t data;
    uint32_t data_type;     // answer
    uint8_t max_pasid_log2; // answer, since Linux 6.15; 0 before
    uint8_t reserved[3];
    uint64_t capabilities; // answer, since Linux 6.9
};
_Static_assert(sizeof(struct irqmux_iommu_ioas_iova_ranges) == 32, "IOMMU_IOAS_IOVA_RANGES");
_Static_assert(sizeof(struct irqmux_iommu_ioas_map) == 40, "IOMMU_IOAS_MAP");
_Static_assert(sizeof(struct irqmux_iommu_ioas_unmap) == 24, "IOMMU_IOAS_UNMAP");
_Static_assert(sizeof(struct irqmux_iommu_hw_info) == 40, "IOMMU_GET_HW_INFO");

#endif
