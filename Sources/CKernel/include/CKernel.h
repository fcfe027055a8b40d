// The kernel's own words for Swift: UAPI of vfio, iommufd, kvm and eventfd, thin system-call wrappers, the cycle
// counter.
//
// Every wrapper returns a non-negative result or a negated errno, so that no Swift code reads the thread's errno.
// Names begin with irqmux_; nothing here decides anything.
#ifndef IRQMUX_CKERNEL_H
#define IRQMUX_CKERNEL_H

#include "irqmux_cycles.h"
#include "irqmux_epoll.h"
#include "irqmux_errno.h"
#include "irqmux_eventfd.h"
#include "irqmux_iommufd.h"
#include "irqmux_kvm.h"
#include "irqmux_socket.h"
#include "irqmux_thread.h"
#include "irqmux_uring.h"
#include "irqmux_vfio.h"

#endif
