#define _GNU_SOURCE
#include <string.h>

#include "irqmux_errno.h"

const char *irqmux_errno_name(int number) {
    const char *name = strerrorname_np(number);
    return name ? name : "E?";
}
