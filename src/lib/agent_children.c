/* The idle part's calls: starts a process for each, and answers its questions from core/agent/admission.h and
 * core/agent/dials.h. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "lib/agent_private.h"
#include "lib/fail.h"
#include "net/clock.h"

void bk_agent_gone(void *agent, int how)
{
    struct beckon_agent *a = agent;

    if (how == BK_CHILD_NOT_STARTED) {
        bk_log(a->log, a->ctx, 0, "%s cannot be started; install the package again",
               a->call_program);
    }
}

static void on_gone(void *ctx, int how)
{
    struct bk_agent_child *child = ctx;
    struct beckon_agent *a = child->agent;

    bk_agent_gone(a, how);
    if (how == BECKON_KEY_CHANGED) {
        bk_agent_renewal_opened(a, false);
    }
    if (how < 0 && how != -SIGTERM && how != -SIGINT && how != -SIGHUP) {
        bk_log(a->log, a->ctx, 0, "a call's process was ended by signal %d", -how);
    }
    *child = (struct bk_agent_child){0};
}

/* Closes the channel, which is the call's end; the process is waited for by and by. */
static void child_end(struct bk_agent_child *child)
{
    struct beckon_agent *a = child->agent;

    if (child->state == BK_CHILD_UNPROVEN) {
        bk_admission_abandoned(&a->admission, &child->facts);
    }
    child->state = BK_CHILD_LEAVING;
    event_free(child->event);
    child->event = NULL;
    close(child->channel);
    if (bk_child_leave(&child->leaving, a->base, child->pid, on_gone, child) != BK_OK) {
        on_gone(child, bk_child_reap(child->pid));
    }
}

static void child_send(struct bk_agent_child *child, const struct bk_channel_message *message)
{
    if (bk_channel_send(child->channel, message) != BK_OK) {
        child_end(child);
    }
}

static void child_admit(struct bk_agent_child *child)
{
    struct beckon_agent *a = child->agent;
    struct bk_now now = bk_now_sample();
    struct bk_channel_message answer = {
        .type = BK_CHANNEL_VERDICT,
        .verdict = bk_admission_check(&a->admission, &now, &a->registration, &child->facts),
        .tag = a->registration.tag,
        .unix_s = bk_registration_unix_s(&a->registration, &now),
    };

    child->state = answer.verdict == BK_ADMITTED ? BK_CHILD_UNPROVEN : BK_CHILD_ANSWERED;
    child_send(child, &answer);
}

/* Every address asked for is counted, dialled or not in the end. */
static void child_permit(struct bk_agent_child *child, const struct bk_channel_message *asked)
{
    struct bk_channel_message answer = {.type = BK_CHANNEL_PERMIT};
    struct bk_now now = bk_now_sample();

    for (size_t i = 0; i < asked->n_dials; i++) {
        if (bk_dials_permit(&child->agent->dials, &now, &asked->dials[i])) {
            answer.permitted |= UINT32_C(1) << i;
        }
    }
    child_send(child, &answer); /* it may ask again while its call is up */
}

/* To the server, by UDP; RESULT_TOLD follows. */
static void child_result(struct bk_agent_child *child, const struct bk_channel_message *said)
{
    struct bk_registration_event event = {.type = BK_REGISTRATION_RESULT,
                                          .addr = child->server,
                                          .bytes = bk_slice(said->box, said->box_n),
                                          .number = said->number};

    child->results++;
    memcpy(event.call_id, child->call_id, sizeof event.call_id);
    bk_agent_tell(child->agent, &event);
}

void bk_agent_result_told(struct beckon_agent *a, const struct bk_registration_action *told)
{
    struct bk_channel_message message = {
        .type = BK_CHANNEL_TOLD, .number = told->number, .good = told->good};

    for (size_t i = 0; i < BK_CHILDREN_MAX; i++) {
        struct bk_agent_child *child = &a->children[i];

        if (child->pid != 0 && child->state != BK_CHILD_LEAVING && child->fast &&
            memcmp(child->call_id, told->call_id, sizeof child->call_id) == 0) {
            child_send(child, &message);
            return;
        }
    } /* else the call is over, and nobody waits for it */
}

/* The children that wait for admission, oldest first, those for whom there is room. */
static void answer_waiting(struct beckon_agent *a)
{
    for (;;) {
        struct bk_agent_child *oldest = NULL;

        for (size_t i = 0; i < BK_CHILDREN_MAX; i++) {
            struct bk_agent_child *child = &a->children[i];

            if (child->pid != 0 && child->state == BK_CHILD_WAITING &&
                (oldest == NULL || child->asked < oldest->asked) &&
                bk_admission_has_room(&a->admission, &child->facts)) {
                oldest = child;
            }
        }
        if (oldest == NULL) {
            return;
        }
        child_admit(oldest);
    }
}

static void on_channel(evutil_socket_t fd, short what, void *ctx)
{
    struct bk_agent_child *child = ctx;
    struct beckon_agent *a = child->agent;
    struct bk_channel_message message;
    struct bk_now now = bk_now_sample();
    enum bk_err err = bk_channel_receive((int)fd, &message);

    (void)what;
    if (err == BK_E_TRUNCATED) {
        return;
    }
    if (err == BK_OK && message.type == BK_CHANNEL_ADMIT && child->state == BK_CHILD_NEW) {
        bk_agent_renewal_opened(a, true);
        child->state = BK_CHILD_WAITING;
        child->asked = a->questions++;
        child->facts = message.facts;
    } else if (err == BK_OK && message.type == BK_CHANNEL_PROOF &&
               child->state == BK_CHILD_UNPROVEN) {
        child->state = message.right ? BK_CHILD_PROVEN : BK_CHILD_ANSWERED;
        bk_admission_proof(&a->admission, &now, &child->facts, message.right);
    } else if (err == BK_OK && message.type == BK_CHANNEL_DIALS &&
               child->state == BK_CHILD_PROVEN) {
        child_permit(child, &message);
    } else if (err == BK_OK && message.type == BK_CHANNEL_RESULT && child->fast &&
               child->results < BK_CHANNEL_RESULTS_MAX) {
        child_result(child, &message);
    } else {
        child_end(child);
    }
    answer_waiting(a);
}

/* The server that called first, then what is known of the others: none of them is to be dialled for a caller. */
static void put_servers(const struct beckon_agent *a, uint8_t index, const struct bk_addr *at,
                        struct bk_channel_message *hello)
{
    static const struct bk_addr nowhere;

    hello->server_index = index;
    hello->servers[0] = bk_addr_equal(at, &nowhere) ? a->servers[index].addr : *at;
    hello->n_servers = 1;
    for (size_t i = 0; i < BK_AGENT_SERVERS_MAX && hello->n_servers < BK_CHANNEL_SERVERS_MAX; i++) {
        if (a->servers[i].known && !bk_addr_equal(&a->servers[i].addr, &hello->servers[0])) {
            hello->servers[hello->n_servers++] = a->servers[i].addr;
        }
    }
    for (size_t i = 0; i < a->n_further && hello->n_servers < BK_CHANNEL_SERVERS_MAX; i++) {
        if (!bk_addr_equal(&a->further[i], &hello->servers[0])) {
            hello->servers[hello->n_servers++] = a->further[i];
        }
    }
}

static void put_request(const struct bk_registration_action *call, struct bk_channel_message *hello)
{
    hello->fast = true;
    memcpy(hello->call_id, call->call_id, sizeof hello->call_id);
    if (!bk_slice_to_text(call->user, hello->user, sizeof hello->user)) {
        hello->user[0] = '\0';
    }
    hello->box_n = call->bytes.n;
    memcpy(hello->box, call->bytes.p, call->bytes.n);
}

/* The process, with one end of the channel, on which the other is listened to. */
static bool child_start(struct beckon_agent *a, struct bk_agent_child *child)
{
    char state[] = "--state", config[] = "--config";
    char *argv[] = {a->call_program, state, a->state_dir, NULL, NULL, NULL};

    if (a->config_file[0] != '\0') {
        argv[3] = config;
        argv[4] = a->config_file;
    }
    if (bk_child_start(argv, &child->pid, &child->channel) != BK_OK) {
        child->pid = 0;
        return false;
    }
    child->event = event_new(a->base, child->channel, EV_READ | EV_PERSIST, on_channel, child);
    return child->event != NULL && event_add(child->event, NULL) == 0;
}

/* Fills a free slot; false leaves nothing behind. */
static bool child_begin(struct beckon_agent *a, struct bk_agent_child *child,
                        const struct bk_registration_action *call)
{
    struct bk_channel_message hello = {
        .type = BK_CHANNEL_HELLO, .observed = a->observed, .agent_port = a->tunnel.port};
    struct bk_now now = bk_now_sample();

    put_servers(a, call->index, &call->addr, &hello);
    hello.unix_s = bk_registration_latest_s(&a->registration, &now);
    if (call->fast) {
        put_request(call, &hello);
    }
    *child = (struct bk_agent_child){.agent = a, .fast = call->fast, .server = call->addr};
    memcpy(child->call_id, call->call_id, sizeof child->call_id);
    if (child_start(a, child) && bk_channel_send(child->channel, &hello) == BK_OK) {
        return true;
    }
    if (child->event != NULL) {
        event_free(child->event);
    }
    if (child->pid != 0) {
        close(child->channel);
        (void)bk_child_reap(child->pid);
    }
    *child = (struct bk_agent_child){0};
    return false;
}

static struct bk_agent_child *free_child(struct beckon_agent *a)
{
    for (size_t i = 0; i < BK_CHILDREN_MAX; i++) {
        if (a->children[i].pid == 0) {
            return &a->children[i];
        }
    }
    return NULL;
}

bool bk_agent_has_room(const struct beckon_agent *a)
{
    for (size_t i = 0; i < BK_CHILDREN_MAX; i++) {
        if (a->children[i].pid == 0) {
            return true;
        }
    }
    return false;
}

void bk_agent_full(struct beckon_agent *a)
{
    uint64_t left_out;

    if (bk_log_limit_pass(&a->full, bk_clock_mono(), &left_out)) {
        bk_log(a->log, a->ctx, 0, "%d calls are up; one more is not answered", BK_CHILDREN_MAX);
    }
}

void bk_agent_call(struct beckon_agent *a, const struct bk_registration_action *call)
{
    struct bk_agent_child *child = free_child(a);

    bk_agent_renewal_prune(a);
    if (child == NULL) {
        bk_agent_full(a);
    } else if (!child_begin(a, child, call)) {
        bk_log(a->log, a->ctx, 0, "cannot start %s: %s", a->call_program, strerror(errno));
    }
}

void bk_agent_children_end(struct beckon_agent *a)
{
    for (size_t i = 0; i < BK_CHILDREN_MAX; i++) { /* first all channels, then the waiting */
        if (a->children[i].pid != 0 && a->children[i].state != BK_CHILD_LEAVING) {
            child_end(&a->children[i]);
        }
    }
    for (size_t i = 0; i < BK_CHILDREN_MAX; i++) {
        bk_child_leave_now(&a->children[i].leaving);
        a->children[i] = (struct bk_agent_child){0};
    }
}
