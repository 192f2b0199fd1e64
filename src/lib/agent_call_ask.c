/* The call part's questions: of the idle part, whether a call is admitted, which addresses may be dialled, and to send what
 * the caller is to hear; of the state directory, who the caller is. */
#include <string.h>

#include "lib/agent_call_private.h"
#include "lib/fail.h"
#include "lib/loop.h"

_Static_assert((int)BK_CHANNEL_DIALS_MAX == (int)BK_CANDIDATES_MAX,
               "one question has room for all");

static void say(struct bk_call_part *p, const struct bk_channel_message *message)
{
    if (bk_channel_send(p->channel, message) != BK_OK) {
        event_base_loopbreak(p->base);
    }
}

void bk_call_part_ask_admission(struct bk_call_part *p, const struct bk_admission_facts *facts)
{
    struct bk_channel_message message = {.type = BK_CHANNEL_ADMIT, .facts = *facts};

    say(p, &message);
}

/* Argon2id takes some 10 ms for each password there is; nobody but this one caller waits for this process. */
void bk_call_part_check_caller(struct bk_call_part *p, const struct bk_call_action *action)
{
    struct bk_caller *caller = &p->serve.access;
    uint64_t unix_s = bk_call_part_unix_s(p);
    enum bk_err err = action->facts.has_key
                          ? bk_access_by_key(p->state_dir, &p->config, unix_s, action->facts.key,
                                             p->log, p->ctx, caller)
                          : bk_access_by_password(p->state_dir, &p->config, unix_s, action->bytes,
                                                  p->log, p->ctx, caller);
    struct bk_channel_message proof = {.type = BK_CHANNEL_PROOF, .right = err == BK_OK};
    struct bk_call_event event = {.type = BK_CALL_CALLER,
                                  .right = err == BK_OK,
                                  .untold = err == BK_E_NOMEM,
                                  .services = caller->services};

    if (!event
             .untold) { /* else the call ends without a proof: the idle part takes it for abandoned */
        say(p, &proof);
    }
    bk_call_part_tell(p, &event);
}

void bk_call_part_ask_dials(struct bk_call_part *p, uint32_t dials)
{
    size_t n;
    const struct bk_candidate *candidates = bk_call_candidates(p->core, &n);
    struct bk_channel_message message = {.type = BK_CHANNEL_DIALS};

    p->n_asked = 0;
    for (size_t i = 0; i < n; i++) {
        if ((dials >> i & 1) != 0) {
            p->asked[p->n_asked++] = i;
            message.dials[message.n_dials++] = candidates[i].addr;
        }
    }
    if (message.n_dials > 0) {
        say(p, &message);
    }
}

static void permitted(struct bk_call_part *p, uint32_t mask)
{
    struct bk_call_event event = {.type = BK_CALL_DIALS};
    size_t refused = 0;

    for (size_t i = 0; i < p->n_asked; i++) {
        if ((mask >> i & 1) != 0) {
            event.dials |= UINT32_C(1) << p->asked[i];
        } else {
            refused++;
        }
    }
    p->n_asked = 0;
    if (refused > 0) {
        bk_log(p->log, p->ctx, 0, "%zu addresses are not dialled: too many dials of late", refused);
    }
    bk_call_part_tell(p, &event);
}

void bk_call_part_send_result(struct bk_call_part *p, const struct bk_call_action *action)
{
    struct bk_channel_message message = {
        .type = BK_CHANNEL_RESULT, .number = (uint8_t)action->index, .box_n = action->bytes.n};
    struct bk_call_event failed = {.type = BK_CALL_RESULT_TOLD, .index = action->index};

    if (p->n_results == BK_CHANNEL_RESULTS_MAX) {
        bk_call_part_tell(p, &failed);
        return;
    }
    p->n_results++;
    memcpy(message.box, action->bytes.p, action->bytes.n);
    say(p, &message);
}

bool bk_call_part_answered(struct bk_call_part *p, const struct bk_channel_message *message)
{
    struct bk_call_event event = {.type = BK_CALL_ADMISSION,
                                  .verdict = message->verdict,
                                  .tag = message->tag,
                                  .unix_s = message->unix_s};
    struct bk_call_event told = {.type = BK_CALL_RESULT_TOLD};

    if (message->type == BK_CHANNEL_PERMIT && p->n_asked > 0) {
        permitted(p, message->permitted);
        return true;
    }
    if (message->type == BK_CHANNEL_TOLD) {
        told.index = message->number;
        told.right = message->good;
        bk_call_part_tell(p, &told);
        return true;
    }
    if (message->type != BK_CHANNEL_VERDICT) {
        return false;
    }
    bk_call_part_tell(p, &event);
    return true;
}
