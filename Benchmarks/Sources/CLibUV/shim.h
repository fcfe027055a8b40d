// libuv's pkg-config flags for CEngines; no code lives here. Without libuv1-dev the engine is left out, so this is no
// error.
#if __has_include(<uv.h>)
#include <uv.h>
#endif
