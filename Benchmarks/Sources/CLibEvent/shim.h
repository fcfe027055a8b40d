// libevent's pkg-config flags for CEngines; no code lives here. Without libevent-dev the engine is left out, no error.
#if __has_include(<event2/event.h>)
#include <event2/event.h>
#endif
