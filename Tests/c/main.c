// The C library's tests. Exit: 0 all passed, 1 not. --tier N makes every mux of a lower tier, --alone leaves out tests
// in which another thread or process is at work beside the test's, and --verbose names each test.
#include "check.h"

#include <stdlib.h>

static int tests, failed;
static bool verbose, alone;

static void run(const struct test *list) {
    for (; list->name; list++) {
        if (alone && list->has_company) continue;
        int before = failures;
        if (verbose) printf("- %s\n", list->name);
        list->run();
        tests++;
        if (failures == before) continue;
        failed++;
        printf("FAILED: %s\n", list->name);
    }
}

int main(int count, char **arguments) {
    for (int at = 1; at < count; at++)
        if (!strcmp(arguments[at], "--verbose")) verbose = true;
        else if (!strcmp(arguments[at], "--alone")) alone = true;
        else if (!strcmp(arguments[at], "--tier") && at + 1 < count) best_tier = (uint32_t)atoi(arguments[++at]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    run(library_tests);
    run(running_tests);
    run(vector_tests);
    run(device_tests);
    run(misuse_tests);
    run(error_tests);
    run(kind_tests);
    run(space_tests);
    if (has_kvm()) {
        run(guest_tests), run(message_tests), run(guest_error_tests), run(guest_kind_tests), run(budget_tests);
        run(function_tests), run(function_state_tests), run(shortcut_tests);
    } else printf("skipped: kvm: /dev/kvm does not open\n");
    printf("%d C tests passed, %d failed\n", tests - failed, failed);
    return failed != 0;
}
