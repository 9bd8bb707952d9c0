/* create_fails.c - create says no, once: must be refused for good, asked no second time, and none of its ops called. */
#include "bad_plugin.h"

static int32_t create(const cabochon_host *host, void **out_self) {
    (void)host;
    (void)out_self;
    static int calls;
    return calls++ == 0 ? -1 : 0;
}

static const cabochon_backend_ops ops = {
    .struct_size = sizeof ops,
    .create = create,
    .softcap = answer_softcap,
};
const cabochon_backend_descriptor cabochon_backend_v1 = {RIGHT_DESCRIPTOR("create_fails", &ops)};
