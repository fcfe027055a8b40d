// The system's liburing, as a Swift module. No code lives here.
//
// liburing.h defines _XOPEN_SOURCE, which changes the layout of fd_set and then clashes with the Glibc module as soon
// as one file imports both. Reading the two headers below first fixes fd_set before liburing.h can change it.
#ifndef IRQMUX_CLIBURING_SHIM_H
#define IRQMUX_CLIBURING_SHIM_H

#include <features.h>
#include <sys/select.h>

#if !__has_include(<liburing.h>)
#error "liburing.h is missing. On Debian and Ubuntu: apt-get install liburing-dev"
#endif
#include <liburing.h>

#endif
