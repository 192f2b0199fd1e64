/* The helper's side of lib/agent_helper.h. One job, one message, and the process ends. */
#include "lib/agent_helper.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/number.h"
#include "beckon/beckon.h"
#include "lib/fail.h"
#include "net/sandbox.h"

enum beckon_status beckon_agent_make_sandbox(int channel)
{
    return bk_sandbox_make_agent_idle(getppid(), channel) == 0 ? BECKON_OK : BECKON_FAILED;
}

struct lookup {
    struct event_base *base;
    struct bk_resolved_message answer;
};

static void on_resolved(void *ctx, enum bk_err err, const struct bk_addr *addrs, size_t n,
                        const char *text)
{
    struct lookup *l = ctx;

    l->answer.failed = err != BK_OK || n == 0;
    for (size_t i = 0; i < n && i < BK_RESOLVE_MAX; i++) {
        l->answer.addrs[l->answer.n++] = addrs[i];
    }
    (void)snprintf(l->answer.text, sizeof l->answer.text, "%s", text);
    event_base_loopbreak(l->base);
}

static enum bk_err look_up(struct lookup *l, const char *host, uint16_t port)
{
    struct bk_resolver *resolver = NULL;
    struct bk_resolve *question;
    enum bk_err err = BK_E_NOMEM;

    l->base = event_base_new();
    if (l->base != NULL) {
        err = bk_resolver_new(l->base, &resolver);
    }
    if (err == BK_OK) {
        err = bk_resolve_start(resolver, host, port, on_resolved, l, &question);
    }
    if (err == BK_OK && event_base_dispatch(l->base) < 0) {
        err = BK_E_IO;
    }
    bk_resolver_free(resolver);
    if (l->base != NULL) {
        event_base_free(l->base);
    }
    return err;
}

enum beckon_status beckon_agent_resolve(int channel, const char *host, const char *port,
                                        beckon_log log, void *ctx)
{
    struct lookup l;
    char why[BK_SANDBOX_WHY_BYTES];
    uint64_t number;

    memset(&l, 0, sizeof l);
    if (bk_number_parse(bk_slice_text(port), UINT16_MAX, &number) != BK_OK) {
        return BECKON_USAGE;
    }
    if (bk_sandbox_agent_call(why, sizeof why) != BK_OK) {
        bk_log(log, ctx, 0, "%s", why);
    }
    if (look_up(&l, host, (uint16_t)number) != BK_OK) {
        return BECKON_FAILED;
    }
    return send(channel, &l.answer, sizeof l.answer, MSG_NOSIGNAL) == (ssize_t)sizeof l.answer
               ? BECKON_OK
               : BECKON_FAILED;
}
