// io_uring: what Debian 12's liburing 2.3 lacks or Swift cannot import.
//
// This header must not include <linux/io_uring.h>: liburing ships its own copy under another guard, and both in one
// module clash. Values are therefore written out; they are kernel ABI and never change. The unit tests compare them
// with liburing's where liburing has them.
#ifndef IRQMUX_URING_H
#define IRQMUX_URING_H

#include <stdint.h>

#endif
